"""The Chinese catalogue is complete and used by the admin."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from babel.messages.catalog import Catalog
from django.apps import apps
from django.test import Client
from django.utils import translation

from scripts import translations
from tenants.keys.services import key_revoke

if TYPE_CHECKING:
    from tests.people import Cast

CHINESE = re.compile(r"[\u4e00-\u9fff]")
APPS = ("tenants", "registry")
# Identical in both languages.
UNTRANSLATED = {"ID"}


def page(client: Client, address: str, language: str) -> str:
    """Return the page in the browser's language."""
    with translation.override("en"):  # the client changes this thread's language
        response = client.get(address, headers={"accept-language": language})
    assert response.status_code == 200
    return response.content.decode()


@pytest.mark.django_db
def test_the_list_of_keys_is_chinese_for_chinese_browsers_and_english_for_others(
    admin: Client, cast: Cast
) -> None:
    key_revoke(key_id=cast.acme.keys.get().pk, actor="tests")
    chinese = (
        "API 密钥",
        "名称、前缀或租户",
        "有效期至",
        "上次使用",
        "已撤销",
        "有效",
        "访问管理",
        "管理变更",
    )
    english = ("API keys", "Name, prefix or tenant", "Valid until", "Last used", "revoked", "valid", "Access")
    for language in ("zh-CN,zh;q=0.9,en;q=0.8", "zh-hans"):
        content = page(admin, "/admin/tenants/apikey/", language)
        assert [word for word in chinese if word not in content] == []
        assert [word for word in ("Valid until", "Last used", "Name, prefix") if word in content] == []
    for language in ("en", "de-DE,de", "fr;q=0.8"):
        content = page(admin, "/admin/tenants/apikey/", language)
        assert [word for word in english if word not in content] == []
        # the menu of languages has the native name
        assert CHINESE.search(content.replace("简体中文", "")) is None


def test_every_model_and_field_has_a_chinese_name() -> None:
    names: dict[str, str] = {}
    with translation.override("zh-hans"):
        for model in (model for label in APPS for model in apps.get_app_config(label).get_models()):
            options = model._meta
            names |= {
                options.label: str(options.verbose_name),
                f"{options.label}s": str(options.verbose_name_plural),
            }
            for field in (field for field in options.fields if not field.auto_created):
                names[f"{options.label}.{field.name}"] = str(field.verbose_name)
                for value, label in field.flatchoices:
                    names[f"{options.label}.{field.name}={value}"] = str(label)
    assert len(names) > 80
    missing_texts = [
        place for place, name in names.items() if not CHINESE.search(name) and name not in UNTRANSLATED
    ]
    assert missing_texts == []


@pytest.mark.case("admin.20")
def test_the_catalogue_in_the_repository_is_complete_and_compiled() -> None:
    assert translations.main(["--check"]) == 0


# Each term has one word: worker, filter, viewer, second factor, actor, error code, seal, token.
OTHER_WORDS = ("工作节点", "过滤", "只读成员", "第二因素", "操作者", "错误代码", "封印", "词元", "账号")


@pytest.mark.case("admin.20")
def test_a_term_has_the_same_word_in_every_text() -> None:
    current = translations.catalogue(translations.PO)
    strings = [str(message.string) for message in current if message.id]  # a plural's are in one text
    assert len(strings) > 1000
    assert [string for string in strings if any(word in string for word in OTHER_WORDS)] == []


@pytest.mark.django_db
@pytest.mark.case("admin.20")
@pytest.mark.parametrize(
    ("language", "word", "others"),
    [("en", "Sign in", ("Log in", "login to")), ("zh-hans", "登录", ("注销", "登入", "帐号"))],
)
def test_pages_of_the_theme_have_this_projects_words(
    language: str, word: str, others: tuple[str, ...]
) -> None:
    content = page(Client(), "/admin/login/", language)
    assert word in content
    assert [other for other in others if other in content] == []


def catalogue(**strings: str) -> Catalog:
    """Return a catalogue of the texts and translations."""
    result = Catalog(locale=translations.LOCALE)
    for text, string in strings.items():
        result.add(text.replace("_", " "), string)
    return result


def test_the_check_reports_missing_fuzzy_obsolete_and_inconsistent_translations() -> None:
    texts = catalogue(tenant="", key="", model="")
    assert translations.problems(texts, catalogue(tenant="租户", key="密钥", model="模型")) == []
    current = catalogue(tenant="租户", key="", old_text="旧")
    assert translations.problems(texts, current) == [
        "no translation: 'key'",
        "no translation: 'model'",
        "unused translation: 'old text'",
    ]
    fuzzy = Catalog(locale=translations.LOCALE)
    fuzzy.add("tenant", "租户", flags=["fuzzy"])
    assert translations.problems(catalogue(tenant=""), fuzzy) == ["no translation: 'tenant'"]
    inconsistent = Catalog(locale=translations.LOCALE)
    inconsistent.add("Key %(prefix)s is revoked.", "密钥 %(praefix)s 已撤销。")
    (problem,) = translations.problems(inconsistent, inconsistent)
    assert "praefix" in problem


def test_texts_are_extracted_from_python_and_templates(tmp_path: Path) -> None:
    module = tmp_path / "page.py"
    module.write_text(
        "from django.utils.translation import gettext_lazy as _, npgettext\n"
        'TITLE = _("API keys")\nOTHER = print("no")\n'
        'COUNT = npgettext("list", "%(n)d key", "%(n)d keys", 2)\n'
    )
    assert list(translations.texts(module)) == [("API keys", None), (("%(n)d key", "%(n)d keys"), "list")]
    template = tmp_path / "page.html"
    template.write_text(
        '{% load i18n %}<p>it\'s (not}\n   {% translate "Copy" %}</p>\n'
        "  {% blocktranslate count n=n %}{{ n }} key{% plural %}{{ n }} keys{% endblocktranslate %}"
        '{{ _("Done") }}'
    )
    assert [text for text, _ in translations.texts(template)] == ["Copy", ("%(n)s key", "%(n)s keys"), "Done"]
