"""Registration of this application's admin pages."""

from django.contrib import admin

from training.admin_pages.jobs import FineTuningJobAdmin
from training.admin_pages.policies import TrainingPolicyAdmin
from training.admin_pages.records import JobAttemptAdmin, JobCheckpointAdmin, JobEventAdmin
from training.models import FineTuningJob, JobAttempt, JobCheckpoint, JobEvent, TrainingPolicy

admin.site.register(FineTuningJob, FineTuningJobAdmin)
admin.site.register(JobAttempt, JobAttemptAdmin)
admin.site.register(JobEvent, JobEventAdmin)
admin.site.register(JobCheckpoint, JobCheckpointAdmin)
admin.site.register(TrainingPolicy, TrainingPolicyAdmin)
