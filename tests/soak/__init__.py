"""A long run against our server as a real process: what must stay flat, and answers that must be everybody's own."""
