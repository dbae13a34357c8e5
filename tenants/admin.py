"""Registers the admin pages of this application, and of Django's people."""

from django.contrib import admin
from django.contrib.auth.models import Group, User

from tenants.admin_pages.keys import KeyAdmin
from tenants.admin_pages.records import AdminAuditAdmin, AuditAdmin, UsageAdmin
from tenants.admin_pages.tenants import MembershipAdmin, TenantAdmin
from tenants.admin_pages.users import PersonAdmin
from tenants.models import AdminAudit, ApiKey, AuditRecord, Membership, Tenant, UsageRecord

admin.site.unregister(User)
# Rights in a tenant are roles, rights in the admin a person's own: groups would be a third place.
admin.site.unregister(Group)

admin.site.register(User, PersonAdmin)
admin.site.register(Tenant, TenantAdmin)
admin.site.register(Membership, MembershipAdmin)
admin.site.register(ApiKey, KeyAdmin)
admin.site.register(UsageRecord, UsageAdmin)
admin.site.register(AuditRecord, AuditAdmin)
admin.site.register(AdminAudit, AdminAuditAdmin)
