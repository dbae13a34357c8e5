"""Lets rows of the administrative audit trail be added and read, and nothing else."""

from django.db import migrations

FORWARDS = """
CREATE FUNCTION tenants_adminaudit_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the administrative audit trail is append-only'
        USING ERRCODE = 'insufficient_privilege';
END
$$;
CREATE TRIGGER adminaudit_append_only BEFORE UPDATE OR DELETE ON tenants_adminaudit
    FOR EACH ROW EXECUTE FUNCTION tenants_adminaudit_append_only();
"""

BACKWARDS = """
DROP TRIGGER adminaudit_append_only ON tenants_adminaudit;
DROP FUNCTION tenants_adminaudit_append_only();
"""


class Migration(migrations.Migration):
    dependencies = [("tenants", "0001_initial")]

    operations = [migrations.RunSQL(FORWARDS, BACKWARDS)]
