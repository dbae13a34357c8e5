# Written by makemigrations and left as it was written.
# fmt: off

import uuid

import django.contrib.postgres.fields
import django.core.validators
import django.db.models.deletion
import django.utils.timezone
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):

    initial = True

    dependencies = [
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name='AdminAudit',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('at', models.DateTimeField(default=django.utils.timezone.now, editable=False, verbose_name='time')),
                ('actor', models.CharField(max_length=200, verbose_name='by')),
                ('action', models.CharField(max_length=64, verbose_name='action')),
                ('object_id', models.CharField(max_length=64, verbose_name='object id')),
                ('object_name', models.CharField(max_length=250, verbose_name='object')),
                ('tenant_id', models.UUIDField(null=True, verbose_name='tenant id')),
                ('before', models.JSONField(null=True, verbose_name='before')),
                ('after', models.JSONField(null=True, verbose_name='after')),
            ],
            options={
                'verbose_name': 'administrative change',
                'verbose_name_plural': 'administrative changes',
                'ordering': ['-id'],
                'indexes': [models.Index(fields=['tenant_id', '-at'], name='admin_audit_tenant_time'), models.Index(fields=['object_id', '-at'], name='admin_audit_object_time')],
            },
        ),
        migrations.CreateModel(
            name='Tenant',
            fields=[
                ('id', models.UUIDField(default=uuid.uuid4, editable=False, primary_key=True, serialize=False, verbose_name='id')),
                ('slug', models.CharField(help_text='What commands and logs call the tenant: lower-case letters, digits and hyphens.', max_length=63, unique=True, validators=[django.core.validators.RegexValidator('\\A[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\\Z', 'Lower-case letters, digits and inner hyphens only.')], verbose_name='short name')),
                ('name', models.CharField(max_length=200, verbose_name='name')),
                ('active', models.BooleanField(default=True, help_text='Keys of an inactive tenant are refused.', verbose_name='active')),
                ('version', models.PositiveIntegerField(default=1, editable=False, verbose_name='version')),
                ('created_at', models.DateTimeField(default=django.utils.timezone.now, editable=False, verbose_name='created')),
            ],
            options={
                'verbose_name': 'tenant',
                'verbose_name_plural': 'tenants',
                'ordering': ['slug'],
                'constraints': [models.CheckConstraint(condition=models.Q(('slug__regex', '\\A[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\\Z')), name='tenant_slug_form')],
            },
        ),
        migrations.CreateModel(
            name='ApiKey',
            fields=[
                ('id', models.UUIDField(default=uuid.uuid4, editable=False, primary_key=True, serialize=False, verbose_name='id')),
                ('name', models.CharField(max_length=200, verbose_name='name')),
                ('prefix', models.CharField(editable=False, max_length=12, unique=True, verbose_name='prefix')),
                ('secret_hash', models.CharField(editable=False, max_length=64, verbose_name='hash of the secret')),
                ('scopes', django.contrib.postgres.fields.ArrayField(base_field=models.CharField(choices=[('inference', 'run models'), ('models.read', 'list models'), ('admin', 'administer the tenant')], max_length=32), default=list, size=None, verbose_name='scopes')),
                ('created_at', models.DateTimeField(default=django.utils.timezone.now, editable=False, verbose_name='created')),
                ('expires_at', models.DateTimeField(blank=True, help_text='In UTC; empty: for ever.', null=True, verbose_name='valid until')),
                ('revoked_at', models.DateTimeField(blank=True, editable=False, null=True, verbose_name='revoked')),
                ('last_used_at', models.DateTimeField(blank=True, editable=False, null=True, verbose_name='last used')),
                ('version', models.PositiveIntegerField(default=1, editable=False, verbose_name='version')),
                ('created_by', models.ForeignKey(blank=True, editable=False, null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to=settings.AUTH_USER_MODEL, verbose_name='created by')),
                ('replaces', models.OneToOneField(blank=True, editable=False, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='replaced_by', to='tenants.apikey', verbose_name='successor of')),
                ('tenant', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.PROTECT, related_name='keys', to='tenants.tenant', verbose_name='tenant')),
            ],
            options={
                'verbose_name': 'API key',
                'verbose_name_plural': 'API keys',
                'ordering': ['tenant', 'name', 'created_at'],
            },
        ),
        migrations.CreateModel(
            name='UsageRecord',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('request_id', models.CharField(max_length=64, unique=True, verbose_name='request id')),
                ('correlation_id', models.CharField(max_length=200, verbose_name='correlation id')),
                ('gateway_id', models.CharField(max_length=128, verbose_name='gateway')),
                ('worker_id', models.CharField(max_length=128, verbose_name='worker')),
                ('model', models.CharField(max_length=200, verbose_name='model')),
                ('endpoint', models.CharField(max_length=200, verbose_name='endpoint')),
                ('streamed', models.BooleanField(default=False, verbose_name='streamed')),
                ('state', models.CharField(choices=[('open', 'open'), ('settled', 'settled')], max_length=16, verbose_name='state')),
                ('outcome', models.CharField(choices=[('pending', 'pending'), ('completed', 'completed'), ('cancelled', 'cancelled'), ('failed', 'failed'), ('refused', 'refused'), ('lost', 'lost')], max_length=16, verbose_name='outcome')),
                ('status', models.PositiveSmallIntegerField(null=True, verbose_name='HTTP status')),
                ('error_code', models.CharField(max_length=100, verbose_name='error code')),
                ('attempt', models.PositiveSmallIntegerField(null=True, verbose_name='last attempt')),
                ('metered_attempt', models.PositiveSmallIntegerField(null=True, verbose_name='metered attempt')),
                ('meter_source', models.CharField(choices=[('worker', 'worker'), ('gateway', 'gateway'), ('none', 'none')], max_length=16, verbose_name='counted by')),
                ('prompt_tokens', models.PositiveIntegerField(default=0, verbose_name='prompt tokens')),
                ('completion_tokens', models.PositiveIntegerField(default=0, verbose_name='completion tokens')),
                ('cached_tokens', models.PositiveIntegerField(default=0, verbose_name='cached tokens')),
                ('queue_s', models.FloatField(null=True, verbose_name='queue (s)')),
                ('first_token_s', models.FloatField(null=True, verbose_name='first token (s)')),
                ('engine_first_token_s', models.FloatField(null=True, verbose_name='first token at the engine (s)')),
                ('engine_total_s', models.FloatField(null=True, verbose_name='total at the engine (s)')),
                ('total_s', models.FloatField(null=True, verbose_name='total (s)')),
                ('attempts', models.JSONField(default=dict, verbose_name='attempts')),
                ('started_at', models.DateTimeField(verbose_name='started')),
                ('ended_at', models.DateTimeField(null=True, verbose_name='ended')),
                ('settled_at', models.DateTimeField(null=True, verbose_name='settled')),
                ('updated_at', models.DateTimeField(verbose_name='last fact')),
                ('key', models.ForeignKey(db_constraint=False, db_index=False, null=True, on_delete=django.db.models.deletion.DO_NOTHING, related_name='usage', to='tenants.apikey', verbose_name='API key')),
                ('tenant', models.ForeignKey(db_constraint=False, db_index=False, null=True, on_delete=django.db.models.deletion.DO_NOTHING, related_name='usage', to='tenants.tenant', verbose_name='tenant')),
            ],
            options={
                'verbose_name': 'usage record',
                'verbose_name_plural': 'usage records',
                'ordering': ['-started_at'],
            },
        ),
        migrations.CreateModel(
            name='Membership',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('role', models.CharField(choices=[('owner', 'owner'), ('admin', 'admin'), ('member', 'member'), ('viewer', 'viewer')], default='member', max_length=16, verbose_name='role')),
                ('created_at', models.DateTimeField(default=django.utils.timezone.now, editable=False, verbose_name='created')),
                ('user', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='memberships', to=settings.AUTH_USER_MODEL, verbose_name='user')),
                ('tenant', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name='memberships', to='tenants.tenant', verbose_name='tenant')),
            ],
            options={
                'verbose_name': 'membership',
                'verbose_name_plural': 'memberships',
                'ordering': ['tenant', 'user'],
                'constraints': [models.UniqueConstraint(fields=('tenant', 'user'), name='membership_once'), models.CheckConstraint(condition=models.Q(('role__in', ['owner', 'admin', 'member', 'viewer'])), name='membership_role_known')],
            },
        ),
        migrations.CreateModel(
            name='AuditRecord',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('request_id', models.CharField(max_length=64, unique=True, verbose_name='request id')),
                ('correlation_id', models.CharField(max_length=200, verbose_name='correlation id')),
                ('key_prefix', models.CharField(max_length=12, verbose_name='key prefix')),
                ('client_ip', models.GenericIPAddressField(null=True, verbose_name='client address')),
                ('method', models.CharField(max_length=16, verbose_name='method')),
                ('endpoint', models.CharField(max_length=200, verbose_name='endpoint')),
                ('model', models.CharField(max_length=200, verbose_name='model')),
                ('status', models.PositiveSmallIntegerField(verbose_name='HTTP status')),
                ('outcome', models.CharField(choices=[('pending', 'pending'), ('completed', 'completed'), ('cancelled', 'cancelled'), ('failed', 'failed'), ('refused', 'refused'), ('lost', 'lost')], max_length=16, verbose_name='outcome')),
                ('error_code', models.CharField(max_length=100, verbose_name='error code')),
                ('duration_s', models.FloatField(verbose_name='duration (s)')),
                ('at', models.DateTimeField(verbose_name='time')),
                ('key', models.ForeignKey(db_constraint=False, db_index=False, null=True, on_delete=django.db.models.deletion.DO_NOTHING, related_name='audit', to='tenants.apikey', verbose_name='API key')),
                ('tenant', models.ForeignKey(db_constraint=False, db_index=False, null=True, on_delete=django.db.models.deletion.DO_NOTHING, related_name='audit', to='tenants.tenant', verbose_name='tenant')),
            ],
            options={
                'verbose_name': 'audit record',
                'verbose_name_plural': 'audit records',
                'ordering': ['-at'],
                'indexes': [models.Index(fields=['tenant', '-at'], name='audit_tenant_time'), models.Index(fields=['at'], name='audit_time'), models.Index(fields=['correlation_id'], name='audit_correlation')],
                'constraints': [models.CheckConstraint(condition=models.Q(('outcome__in', ['pending', 'completed', 'cancelled', 'failed', 'refused', 'lost'])), name='audit_outcome_known')],
            },
        ),
        migrations.AddIndex(
            model_name='apikey',
            index=models.Index(fields=['tenant', 'created_at'], name='key_tenant_created'),
        ),
        migrations.AddConstraint(
            model_name='apikey',
            constraint=models.CheckConstraint(condition=models.Q(('prefix__regex', '\\A[0-9A-Za-z]{12}\\Z')), name='key_prefix_form'),
        ),
        migrations.AddConstraint(
            model_name='apikey',
            constraint=models.CheckConstraint(condition=models.Q(('scopes__contained_by', ['inference', 'models.read', 'admin'])), name='key_scopes_known'),
        ),
        migrations.AddIndex(
            model_name='usagerecord',
            index=models.Index(fields=['tenant', '-started_at'], name='usage_tenant_time'),
        ),
        migrations.AddIndex(
            model_name='usagerecord',
            index=models.Index(fields=['key', '-started_at'], name='usage_key_time'),
        ),
        migrations.AddIndex(
            model_name='usagerecord',
            index=models.Index(fields=['-started_at'], name='usage_time'),
        ),
        migrations.AddIndex(
            model_name='usagerecord',
            index=models.Index(condition=models.Q(('state', 'open')), fields=['updated_at'], name='usage_open'),
        ),
        migrations.AddConstraint(
            model_name='usagerecord',
            constraint=models.CheckConstraint(condition=models.Q(('state__in', ['open', 'settled'])), name='usage_state_known'),
        ),
        migrations.AddConstraint(
            model_name='usagerecord',
            constraint=models.CheckConstraint(condition=models.Q(('outcome__in', ['pending', 'completed', 'cancelled', 'failed', 'refused', 'lost'])), name='usage_outcome_known'),
        ),
        migrations.AddConstraint(
            model_name='usagerecord',
            constraint=models.CheckConstraint(condition=models.Q(('meter_source__in', ['worker', 'gateway', 'none'])), name='usage_meter_source_known'),
        ),
        migrations.AddConstraint(
            model_name='usagerecord',
            constraint=models.CheckConstraint(condition=models.Q(models.Q(('settled_at', None), ('state', 'open')), models.Q(('settled_at__isnull', False), ('state', 'settled')), _connector='OR'), name='usage_settled_has_time'),
        ),
    ]
