"""Many image files: the next is read and the last is written while one is computed."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from torch import Generator, Tensor

from sdabn_cli import images, memory, noiselevel, products
from sdabn_cli.contracts import NoiseModel
from sdabn_cli.errors import SdabnError
from sdabn_cli.inference import BORDER, Runner
from sdabn_cli.inputs import Job
from sdabn_cli.metrics import psnr
from sdabn_cli.noising import add_noise
from sdabn_cli.pixels import Picture
from sdabn_cli.planes import MemoryPlane, Plane, Workspace, whole
from sdabn_cli.products import Page, PicturePlane
from sdabn_cli.randomness import generator
from sdabn_cli.report.album import Album
from sdabn_cli.report.content import Comparison
from sdabn_cli.report.glance import Glance

#: Images of more pixels are read, computed and written one after the other, TIFFs by way of a
#: temporary file.
LARGE = 16_000_000

#: Bytes a pixel that adding noise needs: the image, the noise and the sum, as float32.
NOISE_NEEDS = 48


@dataclass(frozen=True)
class Options:
    """How images are run.

    Attributes:
        products: Which of ``inputs.PRODUCTS`` to write.
        noise: Added to the images first, which are then taken as clean.
        seed: Of the noise; each image's depends on it and on its place in the list.
        sigma: Noise of all images on the 0-255 scale; None estimates it for each.
        max_pixels: Larger images are refused.
        album: Collects pictures of some images for a report, which are chosen already; None for no
            report.
    """

    products: Sequence[str]
    noise: NoiseModel | None = None
    seed: int = 0
    sigma: float | None = None
    max_pixels: int = images.MAX_PIXELS
    album: Album | None = None


@dataclass
class Report:
    """What became of every image.

    Attributes:
        done: input, outputs, seconds, sigma and, with added noise, psnr of each one.
        failed: input and error of the others.
        warnings: What a person should look at.
    """

    done: list[dict[str, Any]] = field(default_factory=list)
    failed: list[dict[str, str]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


@dataclass
class _File:
    """An image file on its way, with what was found in its pages so far."""

    job: Job
    count: int
    random: Generator
    pixels: int = 0
    seconds: float = 0.0
    next: tuple[Picture, Workspace] | None = None
    pages: list[Page] = field(default_factory=list)
    workspaces: list[Workspace] = field(default_factory=list)
    sigmas: list[float] = field(default_factory=list)
    psnr: list[dict[str, Any]] = field(default_factory=list)
    glance: Glance | None = None
    shown: Comparison | None = None

    def close(self) -> None:
        """Let go of everything that was found."""
        for workspace in self.workspaces:
            workspace.close()
        self.pages.clear()


def process(
    jobs: Sequence[Job],
    runner: Runner,
    options: Options,
    *,
    advance: Callable[[Job], object] = lambda job: None,
) -> Report:
    """Run image files; one that fails does not stop the others.

    Args:
        jobs: The images and where their results go.
        runner: The model.
        options: How they are run.
        advance: Called after every file.
    """
    return _Pipeline(runner, options, advance).run(jobs)


class _Pipeline:
    def __init__(self, runner: Runner, options: Options, advance: Callable[[Job], object]) -> None:
        self._runner, self._options, self._advance = runner, options, advance
        self._report = Report()
        noise = runner.model.trained_on
        self._trained = None if noise is None else noiselevel.trained_range(noise)
        self._writing: tuple[_File, Future[dict[str, str]]] | None = None

    def run(self, jobs: Sequence[Job]) -> Report:
        with ThreadPoolExecutor(1) as reader, ThreadPoolExecutor(1) as writer:
            ahead: Future[_File] | None = None
            for number, job in enumerate(jobs):
                opening, ahead = ahead or reader.submit(self._open, job), None
                try:
                    file = opening.result()
                    if file.pixels > LARGE:
                        self._settle()
                    elif number + 1 < len(jobs):
                        ahead = reader.submit(self._open, jobs[number + 1])
                    self._compute(file)
                except Exception as error:  # a network or noise of anyone's must not stop the rest
                    self._fail(job, error)
                    continue
                self._settle()
                self._writing = file, writer.submit(self._write, file)
            self._settle()
        return self._report

    def _open(self, job: Job) -> _File:
        """Read a file's first page."""
        count = images.count_pages(job.image, max_pixels=self._options.max_pixels)
        file = _File(job, count, generator(self._options.seed, "run", job.number))
        self._read(file, 0)
        assert file.next is not None
        if not job.is_tiff and (count > 1 or file.next[0].pixels.dtype == np.float32):
            raise SdabnError(
                f"{job.image} is a TIFF by its content.",
                "Name it .tif: then its results are TIFFs.",
            )
        return file

    def _read(self, file: _File, page: int) -> None:
        began = time.perf_counter()
        workspace = self._runner.workspace()
        file.workspaces.append(workspace)
        image, limit = file.job.image, self._options.max_pixels
        height, width = images.page_size(image, page, max_pixels=limit)
        pixels = height * width * file.count
        spool = workspace.folder if file.job.is_tiff and pixels > LARGE else None
        picture = images.read_picture(image, page, max_pixels=limit, spool=spool)
        file.pixels = max(file.pixels, pixels)
        file.next = picture, workspace
        file.seconds += time.perf_counter() - began

    def _compute(self, file: _File) -> None:
        """Run the model on every page."""
        try:
            for page in range(file.count):
                if page:
                    self._read(file, page)
                began = time.perf_counter()
                self._compute_page(file)
                file.seconds += time.perf_counter() - began
        except BaseException:
            file.close()
            raise

    def _compute_page(self, file: _File) -> None:
        assert file.next is not None
        (picture, workspace), file.next = file.next, None
        noisy, clean = self._input(picture, file.random)
        file.sigmas.append(
            noiselevel.estimate(noisy) if self._options.sigma is None else self._options.sigma
        )
        glance = self._glance(file, noisy, clean)
        result = self._runner(noisy, workspace, clean=clean, look=glance and glance.add)
        if self._options.noise is None:  # the picture says it with fewer bytes
            result = replace(result, noisy=PicturePlane(picture))
        file.pages.append(Page(picture, result))
        if clean is not None:
            before = psnr(whole(noisy).cpu(), clean, border=BORDER)
            file.psnr.append({"noisy": before, "units": result.psnr})

    def _glance(self, file: _File, noisy: Plane, clean: Tensor | None) -> Glance | None:
        """What looks at a page for the report; it has the first page of the images it shows."""
        album = self._options.album
        if album is None or not album.wants(file.job.number) or file.pages:
            return None
        file.glance = Glance(
            str(file.job.image),
            noisy,
            clean,
            self._runner.model.description,
            last_alone=self._runner.is_ensemble,
            note=f"The first of {file.count} pages." if file.count > 1 else "",
        )
        return file.glance

    def _input(self, picture: Picture, random: Generator) -> tuple[Plane, Tensor | None]:
        """What the model sees and, where noise is added, the true image."""
        plane = PicturePlane(picture)
        pixels = plane.shape[1] * plane.shape[2]
        if self._options.noise is None:
            if pixels > LARGE:
                return plane, None
            return MemoryPlane(self._runner.compute.upload(whole(plane))), None
        if NOISE_NEEDS * pixels > memory.available():
            raise SdabnError(
                f"Adding noise to {pixels:,} pixels needs {NOISE_NEEDS * pixels / 1e9:.1f} GB.",
                "Leave out --add-noise, or take a part of the image.",
            )
        clean = whole(plane)
        noisy = add_noise(self._options.noise, clean, random)
        return MemoryPlane(self._runner.compute.upload(noisy)), clean

    def _write(self, file: _File) -> dict[str, str]:
        began = time.perf_counter()
        try:
            written = products.write(
                file.job, file.pages, self._options.products, self._runner.model.description
            )
        finally:
            file.seconds += time.perf_counter() - began
            file.close()
        if file.glance is not None:
            file.shown = file.glance.comparison(file.psnr[0] if file.psnr else None)
        return written

    def _settle(self) -> None:
        """Wait for the file that is being written and report it."""
        if self._writing is None:
            return
        (file, written), self._writing = self._writing, None
        try:
            outputs = written.result()
        except Exception as error:
            self._fail(file.job, error)
            return
        entry = {"input": str(file.job.image), "outputs": outputs, "seconds": file.seconds}
        entry["sigma"] = statistics.median(file.sigmas)
        if file.count > 1:
            entry["pages"] = file.count
        if file.psnr:
            entry["psnr"] = _mean_psnr(file.psnr)
        self._report.done.append(entry)
        if file.shown is not None and self._options.album is not None:
            self._options.album.put(file.job.number, file.shown)
        self._warn(file.job, entry["sigma"])
        self._advance(file.job)

    def _warn(self, job: Job, sigma: float) -> None:
        if self._trained is None or self._options.noise is not None:
            return
        problem = noiselevel.outside(sigma, self._trained)
        if problem:
            self._report.warnings.append(f"{job.image}: {problem}")

    def _fail(self, job: Job, error: Exception) -> None:
        if isinstance(error, SdabnError):
            reason = str(error)
            if str(job.image) not in reason:
                reason = f"{job.image}: {reason}"
        else:
            reason = f"{job.image}: the model failed: {type(error).__name__}: {error}"
        self._report.failed.append({"input": str(job.image), "error": reason})
        self._advance(job)


def _mean_psnr(pages: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Mean over the pages of a file."""
    units = [
        None if values[0] is None else statistics.fmean(values)
        for values in zip(*(page["units"] for page in pages), strict=True)
    ]
    return {"noisy": statistics.fmean(page["noisy"] for page in pages), "units": units}
