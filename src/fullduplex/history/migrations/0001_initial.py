# ruff: noqa: RUF012 - Django wants plain lists here

import django.db.models.deletion
from django.db import migrations, models

import fullduplex.history.models


class Migration(migrations.Migration):
    initial = True

    dependencies = []

    operations = [
        migrations.CreateModel(
            name="KeptGroup",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("name", models.CharField(max_length=99, unique=True)),
                ("nonce", models.CharField(default=fullduplex.history.models.new_nonce, max_length=12)),
                ("last", models.BigIntegerField(default=0)),
                ("first", models.BigIntegerField(default=1)),
                ("trimmed", models.BigIntegerField(default=0)),
                ("total_bytes", models.BigIntegerField(default=0)),
                ("oldest_ms", models.BigIntegerField(default=0)),
                ("appended_ms", models.BigIntegerField(default=fullduplex.history.models.now_ms)),
            ],
        ),
        migrations.CreateModel(
            name="OutboxLane",
            fields=[
                ("id", models.SmallIntegerField(primary_key=True, serialize=False)),
                ("holder", models.CharField(blank=True, default="", max_length=32)),
                ("held_until_ms", models.BigIntegerField(default=0)),
            ],
        ),
        migrations.CreateModel(
            name="OutboxMessage",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("lane", models.SmallIntegerField()),
                ("group", models.CharField(max_length=99)),
                ("data", models.BinaryField()),
                ("is_text", models.BooleanField()),
                ("key", models.CharField(max_length=128)),
                ("written_ms", models.BigIntegerField()),
                ("due_ms", models.BigIntegerField(default=0)),
                ("attempts_count", models.IntegerField(default=0)),
                ("error", models.CharField(blank=True, default="", max_length=200)),
            ],
            options={
                "indexes": [
                    models.Index(fields=["lane", "id"], name="fullduplex_outbox_lane"),
                    models.Index(
                        condition=models.Q(("due_ms__gt", 0)), fields=["due_ms"], name="fullduplex_outbox_due"
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="KeptMessage",
            fields=[
                (
                    "pk",
                    models.CompositePrimaryKey(
                        "group_id", "offset", blank=True, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("offset", models.BigIntegerField()),
                ("data", models.BinaryField()),
                ("is_text", models.BooleanField()),
                ("size_bytes", models.IntegerField()),
                ("key", models.CharField(max_length=128, null=True)),
                ("kept_ms", models.BigIntegerField()),
                (
                    "group",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="messages",
                        to="fullduplex_history.keptgroup",
                    ),
                ),
            ],
            options={
                "constraints": [models.UniqueConstraint(fields=("group", "key"), name="fullduplex_history_key")],
            },
        ),
    ]
