"""Sphinx settings. Warnings are errors (``make docs``), unresolved references included."""

from importlib import import_module
from importlib.metadata import version as installed
from importlib.util import find_spec

project = "etcd-recipes"
author = "the etcd-recipes authors"
project_copyright = author
version = release = installed("etcd-recipes")

extensions = ["myst_parser", "sphinx.ext.autodoc"]
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = "etcd-recipes"

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_class_signature = "mixed"
# In docstrings, `name` is code and no reference: they are read in an editor first.
default_role = "code"

nitpicky = True
nitpick_ignore_regex = [
    # Built without the network, so pages of the standard library and of other packages are not linked.
    (r"py:(class|exc|obj|data)", r"(?!etcd_recipes\b)[a-z_]+(\.\w+)*"),
    (r"py:exc", r"(\w+Error|Exception|BaseException)"),
    (r"py:(class|obj)", r"(None|Self|Callable|Iterator|Mapping|Sequence)"),
    # What requests calls a Session; and annotations with brackets, which the resolver cuts in two.
    (r"py:class", r"HttpSession|collections\.abc\..*"),
    # Type variables.
    (r"py:(class|obj)", r"(.*\.)?[A-Z]"),
]

# Where users find the names, in the order in which a reference looks for them.
PUBLIC = [
    name
    for name in (
        "etcd_recipes",
        "etcd_recipes.core.v2",
        "etcd_recipes.core.v3",
        "etcd_recipes.testing",
    )
    if find_spec(name) is not None
]


def drop_house_rules(_app, what, _name, _obj, _options, lines):
    """Leave out the rules of a file: they are for those who change it."""
    if what == "module" and "Rules of this file" in lines:
        del lines[lines.index("Rules of this file") :]


def refer_to_the_public_name(app, env, node, contnode):
    """Link an annotation, which names the module that defines a thing, to the module that exports it."""
    name = node.get("reftarget", "").rpartition(".")[2]
    for module in PUBLIC:
        if node.get("refdomain") == "py" and name in getattr(import_module(module), "__all__", ()):
            python = env.get_domain("py")
            target = f"{module}.{name}"
            found = python.resolve_xref(
                env, node["refdoc"], app.builder, node["reftype"], target, node, contnode
            )
            if found is not None:
                return found
    return None


def setup(app):
    app.connect("autodoc-process-docstring", drop_house_rules)
    app.connect("missing-reference", refer_to_the_public_name)
