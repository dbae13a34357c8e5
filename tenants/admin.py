"""Registration of this application's admin pages, and of the page of Django's users."""

from django.contrib import admin
from django.contrib.auth.models import Group, User

from tenants.admin_pages.audit import AuditAdmin, RefusalCountAdmin
from tenants.admin_pages.changes import AdminAuditAdmin
from tenants.admin_pages.keys import KeyAdmin
from tenants.admin_pages.service_accounts import ServiceAccountAdmin
from tenants.admin_pages.tenants import MembershipAdmin, TenantAdmin
from tenants.admin_pages.usage import UsageAdmin
from tenants.admin_pages.users import UserAdmin
from tenants.models import AdminAudit, ApiKey, AuditRecord, Membership, ServiceAccount, Tenant, UsageRecord
from tenants.usage.models import RefusalCount

admin.site.unregister(User)
# Groups are unused: roles grant rights in tenants, and user permissions grant rights in the admin.
admin.site.unregister(Group)

admin.site.register(User, UserAdmin)
admin.site.register(Tenant, TenantAdmin)
admin.site.register(Membership, MembershipAdmin)
admin.site.register(ServiceAccount, ServiceAccountAdmin)
admin.site.register(ApiKey, KeyAdmin)
admin.site.register(UsageRecord, UsageAdmin)
admin.site.register(AuditRecord, AuditAdmin)
admin.site.register(AdminAudit, AdminAuditAdmin)
admin.site.register(RefusalCount, RefusalCountAdmin)
