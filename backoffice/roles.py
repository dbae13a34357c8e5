"""Sets of the roles that a person can have in a tenant, as their stored values, highest first."""

ALL_ROLES = ("owner", "admin", "member", "viewer")
# Those who use models, files and jobs.
USERS = ("owner", "admin", "member")
# Those who manage all keys, files and jobs of the tenant.
MANAGERS = ("owner", "admin")
# Those who manage the members.
OWNERS = ("owner",)
