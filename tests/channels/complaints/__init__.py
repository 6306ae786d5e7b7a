"""What users of Channels suffer, shown on both sides: it fails with theirs, pinned, and works with ours.

Each test runs one scenario twice, and says what comes of it with each. The table of them is
``docs/topics/channels-complaints.md``.
"""
