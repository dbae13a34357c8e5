"""URLs of the console's pages about serving and about the tenant; urls.py includes them below /console/."""

from django.urls import path

from api.console.pages import audit, keys, members, models, playground, status, usage

operator_patterns = [
    path("status/", status.status, name="status"),
    path("status/part/", status.status_part, name="status-part"),
]

tenant_patterns = [
    path("models/", models.model_list, name="models"),
    path("model-states/", models.model_states, name="model-states"),
    path("keys/", keys.key_list, name="keys"),
    path("keys/<uuid:key_id>/", keys.key_detail, name="key"),
    path("keys/<uuid:key_id>/rotate/", keys.key_rotation, name="key-rotate"),
    path("keys/<uuid:key_id>/revoke/", keys.key_revocation, name="key-revoke"),
    path("playground/", playground.playground, name="playground"),
    path("playground/key/", playground.playground_key, name="playground-key"),
    path("usage/", usage.usage_page, name="usage"),
    path("usage/records/", usage.usage_records, name="usage-records"),
    path("audit/", audit.change_list, name="audit"),
    path("audit/requests/", audit.request_list, name="audit-requests"),
    path("audit/verify/", audit.verification, name="audit-verify"),
    path("audit/export/", audit.export, name="audit-export"),
    path("members/", members.member_list, name="members"),
    path("members/<int:user_id>/", members.member_change, name="member"),
    path("models/<path:name>/", models.model_detail, name="model"),
]
