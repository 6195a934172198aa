"""Describe one model of the zoo as plain data: its configuration at two sizes, and the norms that it executes.

Reading it needs neither torch nor transformers; `ModelSpec.config` does.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any, Literal, get_args

import msgspec

from harness.errors import ZooFileError, check_name
from harness.system.text import squeezed
from harness.zoo import formula, toml_struct
from harness.zoo.size_checks import NULL
from harness.zoo.trained_weights import TrainedWeights

if TYPE_CHECKING:
    from collections.abc import Mapping

Size = Literal["quick", "full"]
SIZES: tuple[Size, ...] = get_args(Size)
Tier = Literal["quick", "nightly"]
Activations = Literal["massive", "tame"]
Wrapper = Literal["causal", "encoder", "decoder"]

_UNDECLARED = frozenset({"head_dim"})  # models read it although their configuration classes do not declare it
IMPLEMENTATIONS = {"attn_implementation": "eager", "experts_implementation": "batched_mm"}


class ModelSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One model of the zoo, as its file describes it."""

    key: str
    """The file's name without ``.toml``; not written in the file."""
    title: str
    """The family's usual name."""
    architecture: str
    """The transformers class, for example ``"LlamaForCausalLM"``."""
    config_class: str
    """The transformers configuration class, for example ``"LlamaConfig"``."""
    published: str
    """The published size that ``full`` describes, for example ``"meta-llama/Llama-3.2-1B"``."""
    tier: Tier
    """``"quick"`` models run in every check, ``"nightly"`` ones once a night."""
    norms: str
    """Formula for the RMSNorms of one forward pass; ``"0"`` for a control; empty for a model not in the zoo."""
    gamma_seed: int
    """Seed of every weight, including the norms' weights."""
    full: dict[str, Any]
    """The configuration of the published size; an omitted field has transformers' default."""
    quick: dict[str, Any]
    """The fields of ``full`` that the small configuration changes."""
    counts: dict[str, str] = {}
    """Names that ``norms`` uses besides ``L``, or another meaning of ``L``; see `harness.zoo.formula.count`."""
    written_out: str = "0"
    """Formula for how many of ``norms`` the model's forward computes inline instead of calling a module."""
    control: bool = False
    """Whether the model's norms resemble RMSNorm but are not, so that nothing may be fused."""
    rescale: str = "off"
    """How its values are brought into float16's range by default; see `harness.zoo.rescale_choice`."""
    wrapper: Wrapper = "causal"
    """How the model is called; see `harness.export.wrappers`."""
    activations: Activations = "massive"
    """Whether the residual stream gets a massive channel, as with trained weights; see `harness.export.massive`."""
    residual_peak: float = 22_552.0
    """Magnitude of the massive channel. The default is SmolLM2 135M's; families with a known magnitude state it."""
    trained: TrainedWeights | None = None
    """Published weights in a package registry; None if there are none."""
    unconvertible: str = ""
    """Why coremltools cannot convert it yet; empty if it can."""
    notes: str = ""
    """A note shown with the table."""

    def fields(self, size: str = "quick") -> dict[str, Any]:
        """Return the configuration's fields at a size; the small one is ``full`` overlaid with ``quick``.

        Raises
        ------
        UnknownNameError: for a size that is neither ``"quick"`` nor ``"full"``.
        """
        check_name("size", size, SIZES)
        fields = self.full | self.quick if size == "quick" else self.full
        # A copy, because transformers completes the tables of a configuration in place, which would change the entry.
        return {name: None if value == NULL else copy.deepcopy(value) for name, value in fields.items()}

    def config(self, size: str = "quick") -> Any:
        """Build the transformers configuration at a size, in the forms that can be converted.

        These forms are eager attention, no cache, and experts that gather their weights for each token. Experts that
        sort the tokens instead have shapes that depend on values.

        Raises
        ------
        ZooFileError: if the class does not exist, or does not take the file's fields.
        """
        import transformers

        where = f"models/{self.key}.toml"
        config_class = getattr(transformers, self.config_class, None)
        if config_class is None:
            raise ZooFileError(f"{where}: config_class: transformers has no {self.config_class!r}")
        fields = self.fields(size)
        known = {*config_class.__dataclass_fields__, *config_class.attribute_map, *_UNDECLARED}
        for name in [one for one in fields if one not in known]:
            table = "quick" if name in self.quick else "full"
            problem = f"{self.config_class} has no such field{toml_struct.hint(name, known)}"
            raise ZooFileError(f"{where}: {table}.{name}: {problem}")
        try:
            return config_class(**fields, **IMPLEMENTATIONS, use_cache=False)
        except Exception as error:  # errors of several libraries, all about the fields
            raise ZooFileError(f"{where}: {size}: {squeezed(error)}") from error

    def expected_norms(self, config_or_size: Any = "quick") -> int:
        """Return the number of RMSNorms one forward pass executes.

        Parameters
        ----------
        config_or_size: a size, or a transformers configuration of this architecture.

        Raises
        ------
        ZooFileError: if the configuration lacks a field that a count needs.
        """
        return self._count("norms", config_or_size)

    def written_out_norms(self, config_or_size: Any = "quick") -> int:
        """Return how many of the expected norms are not modules, so that no forward hook sees them.

        Raises
        ------
        ZooFileError: if the configuration lacks a field that a count needs.
        """
        return self._count("written_out", config_or_size)

    def _count(self, key: str, config_or_size: Any) -> int:
        text = getattr(self, key)
        rules = {"L": "num_hidden_layers"} | self.counts
        rules = {name: rule for name, rule in rules.items() if name in formula.names(text)}
        if isinstance(config_or_size, str):
            fields = self.fields(config_or_size)
            if all(rule.partition("==")[0].strip() in fields for rule in rules.values()):
                return self._evaluate(key, rules, fields.__getitem__)
            config_or_size = self.config(config_or_size)
        return self._evaluate(key, rules, lambda name: getattr(config_or_size, name))

    def _evaluate(self, key: str, rules: Mapping[str, str], field: Any) -> int:
        try:
            counts = {name: formula.count(rule, field) for name, rule in rules.items()}
            return formula.evaluate(getattr(self, key), counts)
        except (formula.FormulaError, AttributeError) as error:
            raise ZooFileError(f"models/{self.key}.toml: {key}: {error}") from error
