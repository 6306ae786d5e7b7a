"""django-tenants: the host names the tenant, and the connection looks in its schema. These are in the public one."""

from __future__ import annotations

from django_tenants.models import DomainMixin, TenantMixin


class Tenant(TenantMixin):
    auto_create_schema = False  # migrate takes ten seconds for 64 of them


class Domain(DomainMixin):
    pass
