"""
How Sphinx builds the manual.
"""

from __future__ import annotations

import importlib.metadata
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sphinx.application import Sphinx

project = "dflag"
author = "the dflag authors"
copyright = "the dflag authors"
release = importlib.metadata.version("dflag")
version = release

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
    "dflag.integrations.sphinx",
]
exclude_patterns = ["_build"]
html_theme = "furo"
pygments_dark_style = "github-dark"  # the theme's own underlines what is imported, like a link
html_title = f"dflag {release}"
html_static_path = ["_static"]
html_css_files = ["manual.css"]
html_js_files = [("manual.js", {"defer": "defer"})]
html_theme_options = {"navigation_with_keys": True}
html_show_sourcelink = False
html_copy_source = False

# What is copied is what is typed: without prompts, and without what a command prints.
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True

myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 3

# Docstrings name things as `this`, which Sphinx tries as a reference of any kind and shows as code when there is none.
default_role = "code"
autodoc_default_options = {"members": True}
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_custom_sections = [("Thread safety", "params_style")]

nitpicky = True
# No inventory of other projects is fetched, so that the manual builds without a network;
# names of the standard library and private type variables are no references of ours.
nitpick_ignore_regex = [
    (r"py:.*", r"(?!dflag\.).*"),
    (r"py:.*", r"dflag\._.*"),
    (r"py:.*", r"dflag\.sources\._path\..*"),
    (r"py:.*", r"dflag\.testing\._overriding\..*"),
    (r"py:.*", r"dflag(\.\w+)*\.(T|T_co|T_contra|E|F|S)"),
]

MADE_BY_DFLAG = {
    *("dflag.Change", "dflag.DynamicFlag", "dflag.Flag", "dflag.Flags", "dflag.Layer", "dflag.Revision"),
    *("dflag.RuleStatus", "dflag.Snapshot", "dflag.SourceStatus", "dflag.StaticFlag", "dflag.Status"),
    *("dflag.FlagValueError", "dflag.ParseError", "dflag.UnknownFlagError", "dflag.UpdateError"),
    "dflag.ValidationError",
    *("dflag.integrations.opentelemetry.Export", "dflag.integrations.pydantic_settings.Reloading"),
    *("dflag.web.ASGIApp", "dflag.web.WSGIApp"),
}
"""Classes of which dflag makes the objects: how it does is none of their documentation."""


def setup(app: Sphinx) -> None:
    """
    Show of a class what its users need.
    """
    app.connect("autodoc-process-signature", _shorten)


def _shorten(
    _app: Sphinx, _what: str, name: str, _obj: object, _options: object, signature: str | None, returned: str | None
) -> tuple[str, str | None] | None:
    """
    Leave out the constructors of `MADE_BY_DFLAG`, and the module of builtins, whose names are methods of a registry.
    """
    if name in MADE_BY_DFLAG:
        return "", None
    if signature is None:
        return None
    return signature.replace("builtins.", ""), returned and returned.replace("builtins.", "")
