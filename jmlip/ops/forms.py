"""Scalar forms whose derivatives are one JAX primitive: fused kernels, differentiable to any order.

A form F(a, b, ...) is a sum over atoms or pairs, linear in all or some of its operands. The
primitive of a form computes, for a set of operands `outs`,

    dF/d(out) at the given operands,                        or, given tangents `along`,
    the derivative of dF/d(out) along those tangents,

all in one call. Its own derivatives stay within: forward mode adds tangents, and because second
derivatives are symmetric the transpose exchanges outs and tangents. So a value, a gradient, and the
gradient of a function of a gradient (a loss on forces, a Hessian-vector product) are one call each.
Only what goes beyond is left to JAX and the plain implementation.
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

from jmlip.ops import cuda, native

BackendName = Literal["auto", "plain", "native"]
Names = tuple[str, ...]
Operands = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Form:
    """A form: its operands, and how its derivatives are computed.

    Args:
        name: of the primitive.
        operands: names, in the order of the arguments.
        linear: those that F is linear in.
        shapes: `(operands, indices, table) -> {name: shape}`.
        plain: `(outs, operands, along, indices, table) -> list`, in JAX.
        native: the same by a kernel on CPU, for float32 and float64.
        fold: `(operands, indices, shapes, size, table)`: operands, indices and table of `size`
            problems side by side, as those of one.
        cuda: as `native` on NVIDIA GPUs; none where plain JAX serves them.
    """

    name: str
    operands: Names
    linear: Names
    shapes: Callable[..., dict[str, tuple[int, ...]]]
    plain: Callable[..., list]
    native: Callable[..., list]
    fold: Callable[..., tuple[Operands, list, Any]]
    cuda: Callable[..., list] | None = None

    @functools.cached_property
    def primitive(self) -> Primitive:
        return _primitive(self)

    def check(self, backend: BackendName) -> None:
        """Raise where the native kernels of the default device are asked for and not there.

        Raises:
            ValueError: with the reason.
        """
        if backend != "native":
            return
        on_gpu = cuda.why_not() if self.cuda else "there are none for GPUs"
        if reason := on_gpu if jax.default_backend() == "gpu" else native.why_not():
            raise ValueError(
                f"the native kernels are not there: {reason}; use backend='auto' or 'plain'."
            )

    def derivatives(
        self,
        outs: Names,
        operands: Operands,
        along: Operands,
        indices: Sequence[Any],
        *,
        table: Any,
        backend: BackendName,
    ) -> list[Any]:
        """dF/d(out) for each out, or its derivative along tangents.

        Args:
            outs: names, in the order of the form's operands.
            operands: all but those that no result needs.
            along: tangents of operands, empty for the first derivative.
            indices: integer arrays.
            table: static and hashable, for `shapes` and the kernels.
            backend: see the module of the form.
        """
        params = {"table": table, "backend": backend}
        if len(along) == 1 and next(iter(along)) in self.linear:
            ((name, tangent),) = along.items()
            others = tuple(out for out in outs if out != name)
            replaced = operands | along
            found = self.derivatives(others, replaced, {}, indices, **params) if others else []
            by_name = {name: jnp.zeros_like(tangent)} | dict(zip(others, found, strict=True))
            return [by_name[out] for out in outs]
        first, second = self._ordered(operands), self._ordered(along)
        indices = [jnp.asarray(index, jnp.int32) for index in indices]  # as the kernels read them
        return self.primitive.bind(
            *first.values(),
            *second.values(),
            *indices,
            outs=outs,
            given=tuple(first),
            along=tuple(second),
            **params,
        )

    def _ordered(self, operands: Operands) -> Operands:
        return {name: operands[name] for name in self.operands if name in operands}


def kernel(
    name: str,
    shapes: Mapping[str, tuple[int, ...]],
    outs: Names,
    operands: Operands,
    along: Operands,
    indices: Sequence[Any],
    **attributes: Any,
) -> Operands:
    """Call a kernel of `jmlip.ops.native`: what is absent, or not wanted, is an empty array.

    Args:
        name: of the handler.
        shapes: of the operands as the kernel sees them, in its order.
        outs: wanted derivatives.
        operands: those that are needed.
        along: tangents.
        indices: integer arrays.
        **attributes: arrays of numbers that are known when compiling.
    """
    dtype = next(iter(operands.values())).dtype
    nothing = jnp.zeros(0, dtype)
    results = [
        jax.ShapeDtypeStruct(shape if out in outs else (0,), dtype) for out, shape in shapes.items()
    ]
    given = [found.get(out, nothing) for found in (operands, along) for out in shapes]
    found = jax.ffi.ffi_call(name, results)(*given, *indices, **attributes)
    return {out: value for out, value in zip(shapes, found, strict=True) if out in outs}


def _split(arguments: Sequence[Any], given: Names, along: Names):
    n, m = len(given), len(given) + len(along)
    first = dict(zip(given, arguments[:n], strict=True))
    second = dict(zip(along, arguments[n:m], strict=True))
    return first, second, list(arguments[m:])


def _known(operands: Operands) -> Operands:
    return {name: value for name, value in operands.items() if type(value) is not ad.Zero}


def _primitive(form: Form) -> Primitive:
    primitive = Primitive(form.name)
    primitive.multiple_results = True
    primitive.def_impl(_compiled(form))
    primitive.def_abstract_eval(functools.partial(_abstract, form))
    ad.primitive_jvps[primitive] = functools.partial(_jvp, form)
    ad.primitive_transposes[primitive] = functools.partial(_transpose, form)
    batching.primitive_batchers[primitive] = functools.partial(_batch, form)
    plain = mlir.lower_fun(functools.partial(_plain, form), multiple_results=True)
    on_cpu = mlir.lower_fun(functools.partial(_native, form), multiple_results=True)
    mlir.register_lowering(primitive, plain)
    mlir.register_lowering(primitive, on_cpu, platform="cpu")
    if form.cuda is not None:
        on_cuda = mlir.lower_fun(functools.partial(_cuda, form), multiple_results=True)
        mlir.register_lowering(primitive, on_cuda, platform="cuda")
    return primitive


def _compiled(form: Form):
    bind = lambda *arguments, **params: form.primitive.bind(*arguments, **params)
    return jax.jit(bind, static_argnames=("outs", "given", "along", "table", "backend"))


def _abstract(form: Form, *arguments, outs: Names, given: Names, along: Names, table: Any, **_):
    first, second, indices = _split(arguments, given, along)
    # the kernels could only abort
    if len(found := {value.dtype.name for value in (*first.values(), *second.values())}) > 1:
        raise TypeError(
            f"all operands of {form.name} must have one precision, found "
            f"{' and '.join(sorted(found))}; cast them."
        )
    shapes = form.shapes(first, indices, table)
    return [arguments[0].update(shape=shapes[out]) for out in outs]


def _jvp(form: Form, arguments, tangents, *, outs: Names, given: Names, along: Names, **params):
    first, second, indices = _split(arguments, given, along)
    d_first, d_second, _ = _split(tangents, given, along)
    d_first, d_second = _known(d_first), _known(d_second)
    derivatives = functools.partial(form.derivatives, outs, indices=indices, **params)
    values = derivatives(first, second)
    terms = []
    if d_first and not along:
        terms.append(derivatives(first, d_first))
    if d_second:
        terms.append(derivatives(first, d_second))
    if d_first and along:
        beyond = lambda point: form.plain(outs, first | point, second, indices, params["table"])
        point = {name: first[name] for name in d_first}
        terms.append(jax.jvp(beyond, (point,), (d_first,))[1])
    zeros = [jnp.zeros_like(value) for value in values]
    return values, [sum(found[1:], found[0]) for found in zip(*(terms or [zeros]), strict=True)]


def _transpose(
    form: Form, cotangents, *arguments, outs: Names, given: Names, along: Names, **params
):
    first, _, indices = _split(arguments, given, along)
    incoming = _known(dict(zip(outs, cotangents, strict=True)))
    unknown = [n for n, value in enumerate(arguments) if ad.is_undefined_primal(value)]
    names = tuple((*given, *along)[n] for n in unknown)
    for name in names if not along else ():  # linear in it
        del first[name]
        incoming.pop(name, None)
    results: list[Any] = [None] * len(arguments)
    for n, value in zip(
        unknown, form.derivatives(names, first, incoming, indices, **params), strict=True
    ):
        results[n] = value
    return results


def _batch(form: Form, arguments, axes, *, outs: Names, given: Names, along: Names, **params):
    """Problems side by side are one problem on as many times more atoms."""
    size = next(a.shape[axis] for a, axis in zip(arguments, axes, strict=True) if axis is not None)
    full = [
        jnp.broadcast_to(a, (size, *a.shape)) if axis is None else jnp.moveaxis(a, axis, 0)
        for a, axis in zip(arguments, axes, strict=True)
    ]
    first, second, indices = _split(full, given, along)
    single = {name: value[0] for name, value in first.items()}
    shapes = form.shapes(single, [index[0] for index in indices], params["table"])
    table = params["table"]
    operands, folded, params["table"] = form.fold(first, indices, shapes, size, table)
    tangents, *_ = form.fold(second, indices, shapes, size, table)
    found = form.derivatives(outs, operands, tangents, folded, **params)
    return [value.reshape(size, -1, *value.shape[1:]) for value in found], [0] * len(found)


def _plain(form: Form, *arguments, outs: Names, given: Names, along: Names, table: Any, **_):
    # kept apart: XLA would compute it again inside of every consumer
    found = form.plain(outs, *_split(arguments, given, along), table)
    return jax.lax.optimization_barrier(found)


def _native(
    form: Form, *arguments, outs: Names, given: Names, along: Names, table: Any, backend: str
):
    if backend == "plain" or not native.available() or not _served(arguments):
        return _plain(form, *arguments, outs=outs, given=given, along=along, table=table)
    return form.native(outs, *_split(arguments, given, along), table)


def _cuda(
    form: Form, *arguments, outs: Names, given: Names, along: Names, table: Any, backend: str
):
    if backend == "plain" or cuda.why_not() or not _served(arguments):
        return _plain(form, *arguments, outs=outs, given=given, along=along, table=table)
    assert form.cuda is not None
    return form.cuda(outs, *_split(arguments, given, along), table)


def _served(arguments) -> bool:
    return arguments[0].dtype in (jnp.float32, jnp.float64)
