"""MLflow's pages in a browser: a real `grasp ui` over a sweep of a thousand points and a study of sixty trials.

Screenshots go to `GRASP_SCREENSHOTS`, by default `outputs/screenshots`.
"""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from rich.console import Console
from selenium import webdriver
from selenium.common.exceptions import StaleElementReferenceException
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import WebDriverWait

from benchmarks.filled import filled, made_up, many_points, sweep_info, track
from benchmarks.services import free_port
from orchestrator.driver.run_cells import run_cells
from orchestrator.ledger.ledger import Ledger
from orchestrator.tracking.content.pages import view_key
from orchestrator.tracking.mlflow_store import MlflowStore
from orchestrator.tracking.study_tracker import StudyInfo, StudyTracker
from orchestrator.tracking.tracking_store import TrackingStore
from orchestrator.tuning.objectives import objective
from orchestrator.tuning.trials import State, TrialView
from orchestrator.workers.backend import InlineBackend
from sweeps.config.jobs import read_job
from sweeps.config.outputs import Outputs
from sweeps.config.schema.configs import SweepConfig
from sweeps.reports.files import report_files
from sweeps.running.report import report
from sweeps.ui.servers import WORKFLOW

POINTS = int(os.environ.get("GRASP_BROWSER_POINTS", "400"))
SEEDS, TRIALS = 4, 60
ROOT = Path(__file__).parents[2]
SHOTS = Path(os.environ.get("GRASP_SCREENSHOTS", ROOT / "outputs" / "screenshots"))
WITH_VIDEO = ("push_t", "grasp", 50)
"""Task, planner and horizon of the point with pictures."""
FLAGS = (
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--window-size=1500,900"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync", "--hide-scrollbars"),
)
AXES = "return [...document.querySelectorAll('g.axis-title text, .axis-title')].map(each => each.textContent)"
"""The names of the axes of a plot of parallel coordinates."""
CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")

pytestmark = [pytest.mark.timeout(900)]
if CHROMIUM is None or DRIVER is None:
    said = "needs Chromium: apt-get install chromium chromium-driver"
    if os.environ.get("CI"):
        pytest.fail(said)
    pytest.skip(said, allow_module_level=True)


@dataclass(frozen=True)
class Site:
    """A store served by `grasp ui`."""

    address: str
    experiment: str
    sweep: str
    """Id of its run."""
    video_run: str
    """Id of the point's run that has a video."""
    video: str
    """Path of the video in the run."""
    study: str


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> Outputs:
    return Outputs(tmp_path_factory.mktemp("browser"))


@pytest.fixture(scope="module")
def site(outputs: Outputs) -> Iterator[Site]:
    began = time.monotonic()
    experiment, sweep, video_run, study = build(outputs)
    files = MlflowClient(outputs.tracking_uri).list_artifacts(video_run, "rollout")
    video = next(file.path for file in files if file.path.endswith(".mp4"))
    note(f"the store of {POINTS} points was built in {time.monotonic() - began:.0f} s")
    port = free_port()
    command = [
        sys.executable,
        "-c",
        "from sweeps.cli.main import main; raise SystemExit(main())",
        "ui",
        f"output={outputs.root}",
        "--port",
        str(port),
    ]
    address = f"http://127.0.0.1:{port}"
    with (outputs.root / "ui.log").open("wb") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log, cwd=ROOT)
        try:
            until_answers(f"{address}/health", server)
            yield Site(address, experiment, sweep, video_run, video, study)
        finally:
            server.terminate()  # it ends MLflow's server, too; processes that a script started in the background ignore Ctrl-C
            server.wait(60)


def until_answers(address: str, server: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 450
    while time.monotonic() < deadline and server.poll() is None:
        try:
            urllib.request.urlopen(address, timeout=5).close()
            return
        except OSError:
            time.sleep(0.2)
    pytest.fail("grasp ui does not answer")


def note(words: str) -> None:
    """Beside the screenshots."""
    SHOTS.mkdir(parents=True, exist_ok=True)
    with (SHOTS / "seconds.txt").open("a") as file:
        file.write(f"{words}\n")


def build(outputs: Outputs) -> tuple[str, str, str, str]:
    """Ids of the experiment, and of the runs of the sweep, of a point with a video and of the study."""
    grid = many_points(POINTS, SEEDS)
    outputs.prepare()
    outputs.save(grid, "name: review\n")
    pictures = planned(outputs.root / "planned")
    with_video = {e.point.point_id: pictures for e in grid.entries if (e.task, e.planner, e.point.horizon) == WITH_VIDEO}
    parts = ((e.point, made_up(e.point, grid.seeds, n), with_video.get(e.point.point_id)) for n, e in enumerate(grid.entries))
    ledger = filled(parts, outputs.root)
    report(grid.name, outputs, Console(file=io.StringIO()))
    tracking_store = TrackingStore(outputs.tracking_uri, outputs.tracking_artifacts)
    headline = "| planner | success | n |\n|---|---|---|\n| grasp | 0.71 | 800 |\n| gd | 0.40 | 800 |"
    info, files = sweep_info(grid, "name: review\n", headline), report_files(outputs.sweep(grid.name))
    track(ledger, tracking_store, outputs.outbox / "browser", info, files)
    store = MlflowStore(tracking_store)
    (parent,) = store.runs("tags.`grasp.kind` = 'sweep'")
    (point,) = store.runs("params.planner = 'grasp' and params.task = 'push_t' and params.horizon = '50'")
    study = StudyInfo("tuned", "trials: 60\n", "grasp tune", (objective("cost"),), {"space.lr": "0.001 to 1"})
    StudyTracker(tracking_store, study).finish([trial(number) for number in range(TRIALS)], [], "**0.11** with trial 59")
    (root,) = store.runs("tags.`grasp.kind` = 'study'")
    found = MlflowClient(tracking_store.uri).get_experiment_by_name(tracking_store.experiment)
    assert found is not None
    return found.experiment_id, parent.run_id, point.run_id, root.run_id


def planned(folder: Path) -> Path:
    """Pictures of a point that is really planned."""
    words = ["task=push_t", "planner=grasp", "horizons=[50]", f"seeds={SEEDS}", f"output={folder}"]
    grid = read_job(SweepConfig, words, None).grid
    run_cells(grid.portions(), Ledger(folder / "ledger"), InlineBackend(), artifacts=folder / "artifacts")
    return folder / "artifacts" / grid.entries[0].point.point_id


def trial(number: int) -> TrialView:
    began = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(minutes=number)
    cost, pruned = 0.1 + 1 / (1 + number), number % 3 == 2
    return TrialView(
        number=number,
        state=State.PRUNED if pruned else State.COMPLETE,
        settings={"lr": 0.001 * (1 + number), "iterations": 20 + number},
        values=(cost,),
        feasible=True,
        owner="me",
        notes={},
        began=began,
        ended=began + timedelta(seconds=40),
        steps=dict.fromkeys(range(3), cost),
    )


class Page:
    """A browser page at a site."""

    def __init__(self, driver: webdriver.Chrome, site: Site) -> None:
        self.driver, self.site = driver, site

    def open(self, path: str) -> None:
        self.driver.get("about:blank")  # otherwise only the part after the # changes, and the page stays
        self.driver.get(
            f"{self.site.address}/#/experiments/{self.site.experiment}/{path}{'&' if '?' in path else '?'}{WORKFLOW}"
        )

    def load(self, path: str, shown: Callable[[], object]) -> float:
        """Seconds until a page shows what it should."""
        self.open(path)
        self.until(lambda _: shown())
        return self.driver.execute_script("return performance.now() / 1000")

    def until(self, found: Callable[[webdriver.Chrome], Any]) -> Any:
        return WebDriverWait(self.driver, 60, 0.1, [StaleElementReferenceException, IndexError]).until(found)

    def all(self, css: str) -> list[WebElement]:
        return self.driver.find_elements(By.CSS_SELECTOR, css)

    def names(self) -> list[str]:
        """Names of the runs in the table."""
        return [name for link in self.all("[role=gridcell] a[href*='/runs/']") if (name := link.text)]

    def says(self, *words: str) -> None:
        """Wait until the page shows the words."""
        self.until(lambda driver: all(word in driver.find_element(By.TAG_NAME, "body").text for word in words))

    def click(self, path: str) -> None:
        """Click what an XPath finds, once it can be clicked."""

        def done(driver: webdriver.Chrome) -> bool:
            driver.execute_script("arguments[0].click()", driver.find_elements(By.XPATH, path)[0])
            return True

        self.until(done)

    def shot(self, name: str) -> None:
        SHOTS.mkdir(parents=True, exist_ok=True)
        self.driver.save_screenshot(str(SHOTS / f"{name}.png"))


@pytest.fixture(scope="module")
def page(site: Site, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    os.environ["SE_OFFLINE"] = "true"
    options = webdriver.ChromeOptions()
    options.binary_location = str(CHROMIUM)
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(flag)
    driver = webdriver.Chrome(options=options, service=Service(str(DRIVER)))
    try:
        driver.get(site.address)
        # First-time visitors are shown a chat, which would cover a quarter of the page.
        driver.execute_script("localStorage.setItem('mlflow.assistant.fab.autoOpenedOnFirstLoad_v1', 'true')")
        driver.execute_script("localStorage.setItem('mlflow.assistant.panelOpen_v1', 'false')")
        yield Page(driver, site)
    finally:
        driver.quit()


def test_the_sweeps_points_are_there_at_once(page: Page) -> None:
    empty, seconds = [], []
    for _ in range(4):  # the first load fetches the UI itself
        empty.append(page.load("runs?searchFilter=params.planner%20%3D%20'none'", lambda: page.all("[role=columnheader]")))
        seconds.append(page.load(f"runs?viewStateShareKey={view_key('review')}", lambda: len(page.names()) > 9))
    note(f"the page of {POINTS} points took {', '.join(f'{each:.1f}' for each in seconds)} s, an empty one {min(empty):.1f} s")
    page.says("success_rate", "plan_seconds_mean")
    listed = [name.split(" · ")[0] for name in page.names()]
    assert listed == sorted(listed), "the view lists points task by task"
    assert listed[0] == "point_maze_umaze", "points have the config's names for tasks"
    assert any("grasp" in name for name in page.names())
    page.shot("sweep")


def test_the_tree_has_the_sweep_and_the_study_with_their_children(page: Page) -> None:
    page.open("runs?searchFilter=tags.grasp.kind%20!%3D%20'point'")
    page.until(lambda _: set(page.names()) == {"study tuned", "review"})
    page.click("//*[@role='gridcell'][contains(., 'study tuned')]//button[contains(@data-component-id, 'runname')]")
    page.says("trial 59", "trial 40")
    page.shot("tree")


def test_points_are_filtered_by_planner_and_compared(page: Page) -> None:
    page.open(f"runs?viewStateShareKey={view_key('review')}")
    page.until(lambda _: len(page.names()) > 9)
    box = page.until(lambda driver: driver.find_elements(By.CSS_SELECTOR, "input[placeholder*='metrics.rmse']")[0])
    box.send_keys(Keys.CONTROL, "a")
    box.send_keys("params.planner = 'grasp' and params.horizon = '50'", Keys.ENTER)
    page.until(lambda _: page.names() and all("grasp · H50" in name for name in page.names()))
    page.shot("filter")
    for index in range(2):
        page.until(lambda _, place=index: page.all("[role=gridcell] .ag-selection-checkbox")[place].click() is None)
    page.click("//button[@data-testid='runs-compare-button']")
    page.says("Comparing 2 Runs", "success_rate")
    axes = page.until(lambda driver: driver.execute_script(AXES))
    assert axes[-1] == "success_rate", f"the plot compares by {axes[-1]}"
    page.shot("compare")


def test_a_points_page_has_its_headline_and_plays_its_video(page: Page) -> None:
    page.open(f"runs/{page.site.video_run}")
    page.says("push_t · grasp · H50", "95 % interval")
    page.shot("point")
    page.open(f"runs/{page.site.video_run}/artifacts/{page.site.video}")
    seconds = page.until(lambda driver: driver.execute_script("return document.querySelector('video')?.duration"))
    assert seconds > 1
    page.driver.execute_script("document.querySelector('video').currentTime = arguments[0]", seconds / 2)
    page.until(lambda driver: driver.execute_script("return !document.querySelector('video').seeking"))
    page.shot("rollout")


def test_the_cells_of_a_point_are_a_table(page: Page) -> None:
    page.open(f"runs/{page.site.video_run}/artifacts/cells.json")
    page.says("seed", "steps_to_success")
    page.shot("cells")


def test_the_sweeps_report_and_figure_open(page: Page) -> None:
    page.open(f"runs/{page.site.sweep}/artifacts/report.html")
    frame = page.until(lambda _: page.all("iframe")[0])
    page.driver.switch_to.frame(frame)
    page.says("sweep review", "grasp")
    page.driver.switch_to.default_content()
    page.shot("report")
    page.open(f"runs/{page.site.sweep}/artifacts/figures/success.png")
    wide = "return Math.max(0, ...[...document.querySelectorAll('img[src*=success], img[src^=blob]')].map(i => i.naturalWidth))"
    assert page.until(lambda driver: driver.execute_script(wide)) > 300
    page.shot("figure")


def test_a_study_has_its_page(page: Page) -> None:
    page.open(f"runs/{page.site.study}")
    page.says("study tuned", "0.11 with trial 59")
    page.shot("study")
