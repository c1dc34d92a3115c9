"""Sheets laid out below each other at every scale, and their patches as atoms for transport.

Idea: one coordinate system holds everything that may be copied, so that a map of source coordinates can point into any
sheet. Sheets stand in slots whose heights every level halves evenly, so a pixel's children are where doubling its
coordinates says. Patches that cross a border, an unknown pixel or one that must not be copied are no atoms; whoever
points at one is sent to the nearest that is.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from texsyn.coordinates import inside
from texsyn.images import InputError, Region, Size
from texsyn.material import Material
from texsyn.ot.nearest import NearestIndex
from texsyn.patches import windows
from texsyn.pyramid import level_size, n_levels_for, pyramid
from texsyn.regularity import REGULAR, SIDE, regularity

MENDING_ATOMS = 65536
MAX_MATCHED = 20  # channels: at 5x5 pixels a byte product takes no more
FINER = 2  # times coarsest_side for regular exemplars
MAX_NUMBERS = 511  # of a patch: what a byte product takes (see texsyn.ot.nearest)
MAX_COARSEST_ATOMS = 40_000  # beyond it (very long strips) one pass over the coarsest level would take minutes


class Level:
    """One scale of all sheets: 8-bit codes (h, w, C), and which patches are atoms.

    atom (h - w + 1, w' - w + 1) bool says which patches, None all of them; mass (J,) float64 their parts of a picture,
    in reading order, None for equal ones; owner (h,) int32 the exemplar that each row belongs to.
    """

    backend = "auto"  # of ot.nearest; all of them give the same bits here

    def __init__(
        self,
        number: int,
        codes: Tensor,
        w: int,
        atom: Tensor | None = None,
        mass: Tensor | None = None,
        owner: Tensor | None = None,
    ) -> None:
        self.number, self.codes, self.w = number, codes, w
        self.atom, self.mass, self.owner = atom, mass, owner
        self.size = Size(*codes.shape[:2])
        self.per_row = self.size.width - w + 1
        self.n_places = (self.size.height - w + 1) * self.per_row
        self.n_atoms = self.n_places if atom is None else int(atom.sum())

    def on_cpu(self) -> Level:
        """A copy in main memory."""
        atom, mass, owner = (None if t is None else t.cpu() for t in (self.atom, self.mass, self.owner))
        return Level(self.number, self.codes.cpu(), self.w, atom, mass, owner)

    @cached_property
    def place(self) -> Tensor:
        """(J,) where each atom stands among all patches in reading order."""
        if self.atom is None:
            return torch.arange(self.n_places, device=self.codes.device)
        return self.atom.reshape(-1).nonzero()[:, 0]

    @cached_property
    def index(self) -> NearestIndex:
        return self._index(self.place)

    def _index(self, place: Tensor) -> NearestIndex:
        views = windows(self.codes, self.w)
        atoms = views[place // self.per_row, place % self.per_row].reshape(len(place), -1)
        return NearestIndex(centred(atoms), backend=self.backend, centre=False)

    def assign(self, patches: Tensor, psi: Tensor) -> Tensor:
        """Winner among the atoms, (N,), for patches (N, C w w) of codes. One thread at a time: psi is kept inside."""
        self.index.set_bias(psi.float(), check=False)
        return self.index.argmin(centred(patches), check=False)

    def searches(self, potentials: Tensor) -> list[NearestIndex]:
        """An index for each row of potentials (K, J), for any number of threads."""
        found = []
        for psi in potentials:
            found.append(NearestIndex(self.index.y, backend=self.backend, centre=False))
            found[-1].set_bias(psi.float())
        return found

    def nearest(self, patches: Tensor) -> Tensor:
        """Coordinates (N, 2) of the nearest of the atoms, of every n-th where they are more than MENDING_ATOMS."""
        place, index = self._some
        return self._at(place[index.argmin(centred(patches), check=False)])

    @cached_property
    def _some(self) -> tuple[Tensor, NearestIndex]:
        place = self.place[:: -(-self.n_atoms // MENDING_ATOMS)]
        return place, self._index(place)

    def coordinates(self, atom: Tensor) -> Tensor:
        """Coordinates (..., 2) int32 of the atoms' centres."""
        return self._at(atom if self.atom is None else self.place[atom])

    def _at(self, place: Tensor) -> Tensor:
        r = self.w // 2
        return torch.stack([place // self.per_row + r, place % self.per_row + r], -1).to(torch.int32)

    def atoms_of(self, source: Tensor) -> Tensor:
        """The inverse of coordinates(); -1 where no atom is."""
        r = self.w // 2
        place = (source[..., 0].long() - r) * self.per_row + source[..., 1].long() - r
        return place if self.atom is None else self._number[place]

    @cached_property
    def _number(self) -> Tensor:
        number = torch.full((self.n_places,), -1, device=self.codes.device)
        number[self.place] = torch.arange(self.n_atoms, device=self.codes.device)
        return number

    def spread(self, psi: Tensor) -> Tensor:
        """psi (J,) as one number for every patch, atom or not, as coordinates.correct() wants it."""
        if self.atom is None:
            return psi
        return torch.zeros(self.n_places, dtype=psi.dtype, device=psi.device).scatter_(0, self.place, psi)

    @cached_property
    def fix(self) -> Tensor | None:
        """(h, w, 2) int32: the nearest atom's centre from every position; None where moving inside does it."""
        if self.atom is None:
            return None
        from scipy.ndimage import distance_transform_edt

        r = self.w // 2
        other = np.pad(~self.atom.cpu().numpy(), r, constant_values=True)
        found = distance_transform_edt(other, return_distances=False, return_indices=True)
        return torch.from_numpy(np.stack(list(found), -1).astype(np.int32)).to(self.codes.device)

    def settled(self, source: Tensor) -> Tensor:
        """source (H, W, 2) moved to the nearest atoms, as vote() needs them."""
        if self.fix is None:
            return inside(source, self.size, self.w)
        return self.fix[source[..., 0].long(), source[..., 1].long()]


def centred(patches: Tensor) -> Tensor:
    """Codes 0..255 as float32 in -128..127: scores between such patches are exact in any order of summation."""
    return patches.float() - 128


class Atlas:
    """A material at n_levels scales, finest first; see the module's docstring.

    regular: whether it starts at FINER times coarsest_side, as regular exemplars do; None, for one plain picture: looks
    whether it is. Raises InputError when a sheet is too small for the patches, or has none that may be copied.
    """

    def __init__(
        self, material: Material, w: int, coarsest_side: int, device: torch.device, regular: bool | None = False
    ) -> None:
        self.material, self.w = material, w
        smallest = max(w + 3, 8)
        for sheet in material.sheets:
            if min(sheet.size.height, sheet.size.width) < smallest:
                raise InputError(
                    f"{sheet.maps[0].name}: patch_size={w} needs a picture of at least {smallest}x{smallest}, "
                    f"got {sheet.size}"
                )
        sizes, codes = [sheet.size for sheet in material.sheets], material.codes()
        begun: list[Tensor] = []  # the pyramid of a picture that is looked at, as far as that needs it
        if regular is None:
            begun = pyramid(_planes(codes[0]), n_levels_for(sizes[0], SIDE))
            regular = regularity(begun[-1]) > REGULAR
        self.regular = regular
        coarsest_side *= FINER if regular else 1
        self.n_levels = min(n_levels_for(size, max(coarsest_side, smallest)) for size in sizes)
        while self.n_levels > 1 and any(
            min(level_size(size, self.n_levels - 1).height, level_size(size, self.n_levels - 1).width) < smallest
            for size in sizes
        ):
            self.n_levels -= 1  # the nearest octave can fall below a large patch
        unit = 2 ** (self.n_levels - 1)
        self.single = len(sizes) == 1
        heights = [size.height if self.single else -(-size.height // unit) * unit for size in sizes]
        self.tops = np.concatenate([[0], np.cumsum(heights)])
        if codes[0].shape[2] > MAX_MATCHED:
            raise InputError(
                f"{material.picture.name}: {codes[0].shape[2]} channels are to be matched and at most {MAX_MATCHED} "
                "can be; give a map the weight 0, and it is copied and not matched"
            )
        pyramids = [
            _known_pyramid(code, sheet.known, self.n_levels, begun)
            for code, sheet in zip(codes, material.sheets, strict=True)
        ]  # for each sheet, for each level: (C, h, w) uint8
        #: which sheets have a patch that may be copied
        self.copied = [True] * len(sizes)
        self.levels = [self._level(s, [one[s] for one in pyramids], device) for s in range(self.n_levels)]
        if self.levels[-1].n_places > MAX_COARSEST_ATOMS:
            raise InputError(
                f"{material.picture.name}: a strip of {material.picture.size} is too long for its width; "
                "crop it shorter"
            )

    def _level(self, s: int, planes: list[Tensor], device: torch.device) -> Level:
        """Level s from the codes (C, h, w) of each sheet."""
        if self.single and self.material.sheets[0].plain:
            return Level(s, planes[0].permute(1, 2, 0).contiguous().to(device), self.w)
        r, w = self.w // 2, self.w
        height = planes[0].shape[1] if self.single else int(self.tops[-1]) >> s
        width = max(u.shape[2] for u in planes)
        codes = torch.zeros((height, width, planes[0].shape[0]), dtype=torch.uint8)
        atom = torch.zeros((height - w + 1, width - w + 1), dtype=torch.bool)
        owner = torch.zeros(height, dtype=torch.int32)
        counts = []
        for k, (sheet, u) in enumerate(zip(self.material.sheets, planes, strict=True)):
            top, (h, wd) = int(self.tops[k]) >> s, u.shape[1:]
            codes[top : top + h, :wd] = u.permute(1, 2, 0)
            owner[top : top + (h if self.single else int(self.tops[k + 1] - self.tops[k]) >> s)] = sheet.exemplar
            whole = _whole(sheet.known, sheet.usable, s, Size(h, wd), w)
            atom[top : top + h - w + 1, : wd - w + 1] = whole
            counts.append(int(whole.sum()))
        if not any(counts):
            raise InputError(
                f"{self.material.picture.name}: the masks leave no {w}x{w} pixels that may be copied"
                + (f" at 1/{2**s} of the size" if s else "")
            )
        self.copied = [bool(count) for count in counts]  # of the coarsest level in the end
        mass = None
        if self.material.shares is not None:
            per_exemplar = np.zeros(self.material.n_exemplars)
            for sheet, count in zip(self.material.sheets, counts, strict=True):
                per_exemplar[sheet.exemplar] += count
            each = torch.from_numpy(np.array(self.material.shares) / np.maximum(per_exemplar, 1))
            rows = owner[r : height - r].long()[:, None].expand(atom.shape)[atom]
            mass = (each[rows] / each[rows].sum()).to(device)
        return Level(s, codes.to(device), w, atom.to(device), mass, owner.to(device))

    def wide(self, sides: Sequence[int]) -> list[Level]:
        """The coarsest level of one plain picture with windows of these sides, odd and largest first.

        A window that takes more than half of the picture or than MAX_NUMBERS is made smaller, and left out when it is
        no smaller than the one before or no larger than w. An atom's mass is the number of pixels it is the nearest
        of: with equal ones the picture's border, where no window is centred, would be left out.
        """
        coarsest, found = self.levels[-1], list[Level]()
        for side in sides:
            while side**2 * coarsest.codes.shape[2] > MAX_NUMBERS or 2 * side > min(coarsest.codes.shape[:2]):
                side -= 2
            if side > self.w and (not found or side < found[-1].w):
                rows, columns = (_nearest_pixels(n, side) for n in coarsest.codes.shape[:2])
                mass = (rows[:, None] * columns).reshape(-1).to(coarsest.codes.device)
                found.append(Level(coarsest.number, coarsest.codes, side, mass=mass / mass.sum()))
        return found

    def window(self, sheet: int, level: int) -> Region:
        """Where a sheet stands at a level."""
        size = level_size(self.material.sheets[sheet].size, level)
        return Region(int(self.tops[sheet]) >> level, 0, size.height, size.width)

    def split(self, source: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(sheet (H, W), coordinates inside it (H, W, 2)) of coordinates (H, W, 2) of level 0."""
        if self.single:
            return np.zeros(source.shape[:2], np.uint8), source
        sheet = (np.searchsorted(self.tops, source[..., 0], side="right") - 1).astype(np.uint8)
        at = source.copy()
        at[..., 0] -= self.tops[sheet].astype(source.dtype)
        return sheet, at

    def joined(self, source: np.ndarray) -> np.ndarray:
        """The inverse of split(), for coordinates (H, W, 2), or with the sheet's number as a third."""
        if source.shape[2] == 2:
            return source
        at = np.ascontiguousarray(source[..., :2])
        at[..., 0] += self.tops[source[..., 2]].astype(at.dtype)
        return at


def _nearest_pixels(n: int, w: int) -> Tensor:
    """(n - w + 1,) float64: of n pixels in a row, how many have the centre of each window of w as the nearest."""
    number = torch.ones(n - w + 1, dtype=torch.float64)
    number[0] += w // 2
    number[-1] += w // 2
    return number


def _planes(codes: np.ndarray) -> Tensor:
    """(h, w, C) codes as (C, h, w) float32."""
    return torch.from_numpy(codes).permute(2, 0, 1).float()


def _known_pyramid(
    codes: np.ndarray, known: np.ndarray | None, n_levels: int, begun: Sequence[Tensor] = ()
) -> list[Tensor]:
    """The pyramid of (h, w, C) codes, rounded; what is unknown takes no part in the averages.

    begun: its first levels before rounding, where they are there and all is known.
    """
    if known is None:
        levels = [*begun] or [_planes(codes)]
        levels += pyramid(levels[-1], n_levels - len(levels) + 1)[1:]
        return [rounded(level) for level in levels[:n_levels]]
    u = _planes(codes)
    weight = torch.from_numpy(known)[None].float()
    mean = (u * weight).sum((1, 2), keepdim=True) / weight.sum().clamp(min=1)
    found = []
    for values, weights in zip(pyramid(u * weight, n_levels), pyramid(weight, n_levels), strict=True):
        found.append(rounded(torch.where(weights > 0.01, values / weights.clamp(min=0.01), mean)))
    return found


def rounded(u: Tensor) -> Tensor:
    """Values as 8-bit codes, half up, clipped to 0..255."""
    return (u + 0.5).floor().clamp(0, 255).to(torch.uint8)


def _whole(known: np.ndarray | None, usable: np.ndarray | None, level: int, size: Size, w: int) -> Tensor:
    """(h - w + 1, w' - w + 1) bool: which patches of a level may be copied.

    At level 0 every pixel of the patch must be usable. Coarser pixels must be so in their larger part, and where that
    leaves no patch at all, those whose centre is.
    """
    ok = np.ones((1, 1), bool) if known is None else known
    ok = ok if usable is None else ok & usable
    if known is None and usable is None:
        return torch.ones((size.height - w + 1, size.width - w + 1), dtype=torch.bool)
    share = pyramid(torch.from_numpy(ok)[None].float(), level + 1)[level][0]
    good = share > (0.999 if level == 0 else 0.5)
    patches = good.unfold(0, w, 1).unfold(1, w, 1)
    whole = patches.all(-1).all(-1)
    r = w // 2
    return whole if level == 0 or bool(whole.any()) else patches[..., r, r].clone()
