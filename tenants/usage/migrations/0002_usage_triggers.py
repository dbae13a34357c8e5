"""Triggers that maintain the usage sums, and the sums of the records so far.

Statement triggers see the old and the new rows of the statement and add the difference, so no way of
writing usage records can forget the sums. An upsert fires the triggers of INSERT and of UPDATE.
"""

# ruff: noqa: S608 - all names are constants

from django.db import migrations

DIMENSIONS = ("bucket_at", "tenant_id", "key_id", "model", "endpoint")
MEASURES = {
    "requests": "1",
    "completed": "(r.outcome = 'completed')::int",
    "cancelled": "(r.outcome = 'cancelled')::int",
    "failed": "(r.outcome = 'failed')::int",
    "refused": "(r.outcome = 'refused')::int",
    "lost": "(r.outcome = 'lost')::int",
    "prompt_tokens": "r.prompt_tokens",
    "cached_tokens": "r.cached_tokens",
    "completion_tokens": "r.completion_tokens",
    "trained_tokens": "r.trained_tokens",
    "wasted_tokens": "r.wasted_tokens",
    "cost_microusd": "r.cost_microusd",
    "queue_us": "coalesce(round(r.queue_s * 1e6), 0)::bigint",
    "queue_count": "(r.queue_s IS NOT NULL)::int",
    "first_token_us": "coalesce(round(r.first_token_s * 1e6), 0)::bigint",
    "first_token_count": "(r.first_token_s IS NOT NULL)::int",
    "total_us": "coalesce(round(r.total_s * 1e6), 0)::bigint",
    "total_count": "(r.total_s IS NOT NULL)::int",
}
BUCKET = "date_bin('15 minutes', r.started_at, TIMESTAMPTZ '2000-01-01 00:00:00+00')"


def upsert(source: str) -> str:
    """Return the statement that adds the records of ``source``, whose column ``sign`` is 1 or -1."""
    sums = [f"sum(r.sign * {value})::bigint AS {name}" for name, value in MEASURES.items()]
    changes = [f"{name} = usage_usagerollup.{name} + excluded.{name}" for name in MEASURES]
    differences = " OR ".join(f"{name} <> 0" for name in MEASURES)
    return f"""
        INSERT INTO usage_usagerollup ({", ".join((*DIMENSIONS, *MEASURES))})
        SELECT * FROM (
            SELECT {BUCKET} AS bucket_at, r.tenant_id, r.key_id, r.model, r.endpoint, {", ".join(sums)}
            FROM {source} r GROUP BY 1, 2, 3, 4, 5
        ) difference
        WHERE {differences}
        ORDER BY 1, 2, 3, 4, 5
        ON CONFLICT ({", ".join(DIMENSIONS)}) DO UPDATE SET {", ".join(changes)}
        RETURNING id, requests"""


def branch(source: str) -> str:
    """Return the statement of one kind of change, which collects the ids of sums without requests."""
    return f"""
        WITH changed AS ({upsert(source)}
        ) SELECT array_agg(id) INTO empty_ids FROM changed WHERE requests = 0;"""


ADDED = "SELECT 1 AS sign, a.* FROM added a"
REMOVED = "SELECT -1 AS sign, d.* FROM removed d"
# The records of years take longer than the limit on statements of requests.
FORWARDS = f"""
SET LOCAL statement_timeout = 0;
CREATE FUNCTION usage_rollup_apply() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE empty_ids bigint[];
BEGIN
    IF TG_OP = 'INSERT' THEN {branch(f"({ADDED})")}
    ELSIF TG_OP = 'DELETE' THEN {branch(f"({REMOVED})")}
    ELSE {branch(f"({ADDED} UNION ALL {REMOVED})")}
    END IF;
    IF empty_ids IS NOT NULL THEN
        DELETE FROM usage_usagerollup WHERE id = ANY(empty_ids);
    END IF;
    RETURN NULL;
END
$$;
CREATE TRIGGER usage_rollup_insert AFTER INSERT ON tenants_usagerecord
    REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION usage_rollup_apply();
CREATE TRIGGER usage_rollup_update AFTER UPDATE ON tenants_usagerecord
    REFERENCING NEW TABLE AS added OLD TABLE AS removed
    FOR EACH STATEMENT EXECUTE FUNCTION usage_rollup_apply();
CREATE TRIGGER usage_rollup_delete AFTER DELETE ON tenants_usagerecord
    REFERENCING OLD TABLE AS removed FOR EACH STATEMENT EXECUTE FUNCTION usage_rollup_apply();
{upsert("(SELECT 1 AS sign, a.* FROM tenants_usagerecord a)")};
"""
BACKWARDS = """
DROP TRIGGER usage_rollup_insert ON tenants_usagerecord;
DROP TRIGGER usage_rollup_update ON tenants_usagerecord;
DROP TRIGGER usage_rollup_delete ON tenants_usagerecord;
DROP FUNCTION usage_rollup_apply();
DELETE FROM usage_usagerollup;
"""


class Migration(migrations.Migration):
    dependencies = [("usage", "0001_initial")]

    operations = [migrations.RunSQL(FORWARDS, BACKWARDS)]
