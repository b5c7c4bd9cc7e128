"""Names of images and classes as text."""

import unicodedata

from hypothesis import example, given
from hypothesis import strategies as st

from data.names import class_name, printable

any_text = st.text(st.characters(codec=None))


@given(any_text)
@example("caf\udce9")
@example("two\nlines and a \\")
@example("鸟\udcff\\é")
def test_an_escaped_name_can_be_written_and_read_back(name):
    text = printable(name)
    assert not any(character in text for character in "\n\r\x1b\u2028\0")
    text.encode("utf-8")
    if text != name:
        assert text.encode("latin-1", "backslashreplace").decode("unicode_escape") == name


@given(any_text, any_text)
def test_different_names_that_need_escapes_stay_different(first, second):
    if first != second and printable(first) != first and printable(second) != second:
        assert printable(first) != printable(second)


@given(st.text(st.characters(categories=["L", "N", "P", "S", "M"])))
@example("back\\slash")
def test_ordinary_names_stay_as_they_are(name):
    assert printable(name) == name


def test_a_class_name_is_the_same_in_both_unicode_forms():
    forms = [unicodedata.normalize(form, "orchidée ö 한") for form in ("NFC", "NFD")]
    assert class_name(forms[0]) == class_name(forms[1]) == forms[0]
