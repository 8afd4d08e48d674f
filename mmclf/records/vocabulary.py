"""The words of the records: every tag, metric and artifact that mmclf writes or reads, once, with its meaning.

The curves of an epoch have their names in training/history.py. MLflow's own system metrics begin with `system/`.
"""

from enum import StrEnum
from pathlib import Path

from ..config import LOCAL_DIR

CONFIG_PREFIX = "cfg/"  # of params: the configuration; `mlflow run` logs its own under their plain names
MODELS = "models:/"
DEFAULT_NAME = "mmclf"
CHAMPION, PREVIOUS = "champion", "previous"  # aliases
DEFAULT_MODEL = f"{MODELS}{DEFAULT_NAME}@{CHAMPION}"


class Word(StrEnum):
    """A name as it is recorded, and what it means."""

    meaning: str

    def __new__(cls, name: str, meaning: str) -> "Word":
        """The name is the word itself."""
        word = str.__new__(cls, name)
        word._value_ = name
        word.meaning = meaning
        return word


class Tag(Word):
    """Tags of runs and of versions of a registered model."""

    STAGE = (
        "stage",
        "the job: check, fit, tune, stage1, stage2, fusion, infer, ensemble, register, evaluate, compare, batch or "
        "demo; of a version, that of its model",
    )
    ROLE = (
        "role",
        "of stages parent, fold or all-rows (the model that every row trained); of tune parent or trial; start where "
        "`mlflow run` made a run and an interrupted one goes on",
    )
    FOLD = "fold", "number of the fold that a fold's run holds out"
    FOLDS = "folds", "numbers of the folds that were trained, score, or are in the version, or all-rows; with commas"
    SPLIT = "split", "digest of rows, labels and folds: equal where the folds are the same"
    BACKBONE = "backbone", "name of the backbone for people, without a path"
    WEIGHTS = "weights_sha256", "SHA-256 of the backbone's pretrained tensors"
    FINGERPRINT = "fingerprint", "digest of the table with its texts and the names of its pictures"
    CONFIG_ID = "config_id", "fingerprint of the configuration"
    GIT_DIRTY = "git_dirty", "true, false or unknown: whether the code had changes that no commit holds"
    CSV = "csv", "path of the table; not there where the table was a data frame"
    IMAGES = "images", "path of the folder of pictures"
    STAGE1_RUN = "stage1_run", "the run that a stage 2 started from"
    PRECISION = "precision", "of the towers: float32, bfloat16 or float16"
    DEVICE = "device", "cpu, cuda or mps"
    PROCESSES = "processes", "number of processes that trained together"
    SOURCE_RUN = "source_run", "the runs whose models score, were averaged or were packed; with commas"
    SCORED_BY = "scored_by", "which folds of which models scored, as a sentence"
    MODEL = "model", "what scored, as it was asked for"
    IMG_SIZE = "img_size", "sides of the pictures that were scored at, in pixels; with commas"
    WEIGHTS_OF_RUNS = (
        "weights",
        "one weight for each averaged or pooled run, with commas; empty where they count the same",
    )
    DATA = "data", "address of the table that batch scored"
    VERSION = "version", "number of the version that register made"
    VERDICT = "verdict", "what register said of a version beside the champion"
    SEARCH = "search", "digest of data, folds, backbone, configuration, space and metric of a tune, which may go on"
    TRIAL = "trial", "number of the trial"
    STATE = "state", "how a trial ended: complete, pruned, failed or interrupted"
    SETTINGS = "settings", "what a trial tries, as JSON"
    PROCESS = "process", "machine, number and start of the process that is at the run, or was"
    HEARTBEAT = "heartbeat", "when this process last said that it lives, in seconds since 1970"
    WORK = "work", "digest of all that the result depends on: an interrupted run of the same work goes on"
    WORK_PARTS = "work_parts", "what that is made of, as JSON"
    DEMO = "demo", "of a version: true where the demo registered it, so that a real run takes its place"
    BUDGET = "budget", "seconds that fit was given; empty where there was no limit"
    ERROR = "error", "why a run failed"
    # MLflow's own
    NOTE = "mlflow.note.content", "description of the run, Markdown"
    RUN_NAME = "mlflow.runName", "name of the run"
    PARENT = "mlflow.parentRunId", "the run of the stage that a fold belongs to, or of the fit that a stage does"
    COMMIT = "mlflow.source.git.commit", "commit of the code"
    ENTRY_POINT = "mlflow.project.entryPoint", "what `mlflow run` was asked for"


class Metric(Word):
    """Metrics of runs; those under `cv/` are fields of evaluation/crossvalidation.py's `Figures`."""

    CV_TOP1_MEAN = "cv/top1_mean", "mean over the folds of the share of held-out rows whose class was named first"
    CV_TOP1_STD = "cv/top1_std", "its standard deviation over the folds"
    CV_TOP3_MEAN = "cv/top3_mean", "mean over the folds of the share whose class was among the first three"
    CV_OOF_TOP1 = "cv/oof_top1", "top-1 of the rows of all folds together"
    CV_OOF_TOP3 = "cv/oof_top3", "top-3 of the rows of all folds together"
    CV_MACRO_F1 = "cv/macro_f1", "mean of the classes' F1, all rows together"
    CV_CALIBRATION_ERROR = "cv/calibration_error", "expected calibration error in 15 bins of equal mass, all rows"
    CV_LOSS = "cv/loss", "mean of -log p(true class), all rows together"
    BEST_TOP1 = "best/top1", "of a fold: val/top1 of its best epoch"
    BEST_TOP3 = "best/top3", "of a fold: val/top3 of its best epoch"
    BEST_EPOCH = "best/epoch", "of a fold: number of its best epoch"
    FOLD_LOSS = "fold/loss", "of a trial: loss of each fold, by its number as the step"
    FOLD_TOP1 = "fold/top1", "of a trial: top-1 of each fold"
    TRIALS = "tune/trials", "trials that ended, of all starts"
    TRIALS_PRUNED = "tune/pruned", "those of them that were given up before their last fold"
    GIVEN = "tune/given", "what decides, of the configuration as it was given"
    AGAIN_BEST = "tune/again_best", "what decides, of the best settings on folds of another seed"
    AGAIN_GIVEN = "tune/again_given", "what decides, of the configuration as it was given on these folds"
    DATA_ROWS = "data/rows", "rows of the table"
    DATA_PICTURES = "data/pictures", "pictures that belong to a row"
    DATA_WITHOUT_PICTURE = "data/rows_without_picture", "rows without a picture"
    DATA_SEVERAL_PICTURES = "data/rows_with_several_pictures", "rows with two pictures or more"
    DATA_WITHOUT_TEXT = "data/rows_without_text", "rows without a text"
    DATA_CLASSES = "data/classes", "distinct labels, those without rows included"
    DATA_CLASSES_WITHOUT_ROWS = "data/classes_without_rows", "labels that only data.classes_csv names"
    DATA_GROUPS = "data/groups", "distinct groups"
    UNREADABLE = "data/unreadable_pictures", "pictures that couldn't be decoded and became black"
    TRUNCATED = "data/truncated_texts", "rows whose text was longer than data.max_len"
    FEATURES_COMPUTED = "features/computed", "views and texts that were encoded"
    FEATURES_REUSED = "features/reused", "views and texts whose features were in the cache"
    FEATURES_SECONDS = "features/seconds", "time that encoding took"
    FEATURES_SPEED = "features/rows_per_second", "encoded views and texts a second"
    FEATURES_WAIT = "features/data_wait", "share of the encoding spent waiting for data"
    ZERO_SHOT_TOP1 = "zero_shot/top1", "rows with a picture whose class's name is nearest to it, nothing fitted"
    ZERO_SHOT_TOP3 = "zero_shot/top3", "the same among the three nearest names"
    ZERO_SHOT_TEXT_TOP1 = "zero_shot/text_top1", "rows with a text whose class's name is nearest to it, nothing fitted"
    ZERO_SHOT_ALIGNMENT = (
        "zero_shot/alignment",
        "z-score of the agreement of pictures and texts: model/alignment.py",
    )
    CHECK_WRONG = "check/wrong", "findings that would make training wrong"
    CHECK_DOUBTFUL = "check/doubtful", "findings that are doubtful"
    ROWS = "rows", "rows that were scored"
    ASSIGNED = "assigned", "share of the rows that were labelled; less than 1 where a precision was asked for"
    FAILED_ROWS = "failed_rows", "rows that could not be scored"
    SECONDS = "seconds", "time that the job took"
    ESTIMATE = "estimated_seconds", "time that fit expected to take, before it began"
    START_SECONDS = "start_seconds", "time until Spark had started"
    SPEED = "speed/rows_per_second", "rows a second"
    WAIT = "speed/data_wait", "share of the time spent waiting for data"
    MEMORY = "speed/peak_memory_mib", "memory that the process held at most, in MiB"
    EVAL_TOP1 = "eval/top1", "share of the labelled rows whose class was named first"
    EVAL_TOP1_LOW = "eval/top1_low", "lower end of the 95 % interval of eval/top1"
    EVAL_TOP1_HIGH = "eval/top1_high", "upper end of the 95 % interval of eval/top1"
    EVAL_TOP3 = "eval/top3", "share of the labelled rows whose class was among the first three"
    EVAL_TOP3_LOW = "eval/top3_low", "lower end of the 95 % interval of eval/top3"
    EVAL_TOP3_HIGH = "eval/top3_high", "upper end of the 95 % interval of eval/top3"
    EVAL_MACRO_F1 = "eval/macro_f1", "mean of the classes' F1 over the labelled rows"
    EVAL_MACRO_F1_LOW = "eval/macro_f1_low", "lower end of the 95 % interval of eval/macro_f1"
    EVAL_MACRO_F1_HIGH = "eval/macro_f1_high", "upper end of the 95 % interval of eval/macro_f1"
    EVAL_LOSS = "eval/loss", "mean of -log p(true class) over the labelled rows"
    EVAL_LOSS_LOW = "eval/loss_low", "lower end of the 95 % interval of eval/loss"
    EVAL_LOSS_HIGH = "eval/loss_high", "upper end of the 95 % interval of eval/loss"
    EVAL_CALIBRATION = "eval/calibration_error", "expected calibration error of the labelled rows"
    EVAL_CALIBRATION_LOW = "eval/calibration_error_low", "lower end of the 95 % interval of eval/calibration_error"
    EVAL_CALIBRATION_HIGH = "eval/calibration_error_high", "upper end of the 95 % interval of eval/calibration_error"
    EVAL_ROWS = "eval/rows", "rows with a label that the model knows"
    EVAL_UNKNOWN = "eval/unknown_rows", "rows with a label that the model doesn't know, which no figure counts"
    EVAL_EXPECTED_TOP1 = "eval/expected_top1", "top-1 of the rows that the model held out when it was trained"
    EVAL_BY_CONFIDENCE = "eval/confidence", "mean calibrated confidence: the top-1 that the model itself expects"
    TEST_TOP1 = "test/top1", "of the demo: share of unseen rows whose class was found"
    TEST_CHANCE = "test/chance", "of the demo: share of the most frequent class"


CV = "cv/"
# what runs are compared by; the first is the default
METRICS: tuple[str, ...] = (Metric.CV_TOP1_MEAN, Metric.CV_TOP3_MEAN, Metric.CV_OOF_TOP1, Metric.CV_MACRO_F1)


class Artifact(StrEnum):
    """Files and folders of a run."""

    OOF = "oof.parquet"  # out-of-fold probabilities: of a fold its rows, of a stage all of them
    LEFT_OUT = "left_out.parquet"  # of the run of all rows: probabilities of each by a model of the others
    CHECKPOINT = "checkpoint"  # of a fold: its best epoch
    HISTORY = "history.csv"  # of a fold: a row an epoch
    TENSORBOARD = "tensorboard"  # of a fold: the same as event files
    CONFIG = "config.yaml"
    REPORT = "report.html"  # of stages, fusions, labelled rows, comparisons; plots and tables as files in report/
    CHECK = "check.html"  # of a check; its figures, plots and tables lie beside it
    GROUPS = "groups.csv"  # of a check: id and group, as data.groups_csv takes it
    BEST_CONFIG = "best-config.yaml"  # of a tune
    TRIALS = "trials.csv"  # of a tune: a row a trial
    HISTORY_PLOT = "history.png"  # of a tune
    IMPORTANCE_PLOT = "importance.png"  # of a tune
    PLAN = "plan.json"  # of a fit: its steps
    POOL = "pool.json"  # of a fusion: its members and their weights
    PROBABILITIES = "probabilities.parquet"  # of infer and ensemble
    SUBMISSION = "submission.csv"  # of infer and ensemble: id and label


def show_backbone(name: str, pretrained: str) -> str:
    """The tag `backbone`: its name for people, without the path of a folder."""
    if name.startswith(LOCAL_DIR):
        return Path(name.removeprefix(LOCAL_DIR)).name
    return f"{name} ({pretrained})" if pretrained else name
