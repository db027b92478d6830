"""Mistakes in params.yaml and in studies; `beft plan` meets them."""

from support.planted import (
    HUB,
    TASK,
    TINY,
    Case,
    nothing,
    params,
    remove,
    settings,
    study,
    text,
    used,
)

TIMED = {"model": "tiny", "task": "mine", "regime": "low", "techniques": ["all_biases"]}
PAIR = {"model": "tiny", "tasks": ["mine", "mine"], "regime": "low", "technique": "all_biases"}
PAIRS = {"objective": "contrastive_pairs"}

MISSPELT = settings("params", params, [
    (("modles",), {}, "params.yaml", "'modles'", "'models'"),
    (("training", "learnin_rate"), 0.1, "training", "'learnin_rate'", "'learning_rate'"),
    (("execution", "thread"), 1, "execution", "'thread'", "'threads'"),
    (("models", "tiny", "pth"), "x", "models.tiny", "'pth'", "'path'"),
    (("models", "tiny", "sites"), {"layer": "x"}, "models.tiny.sites", "'layer'", "'layers'"),
    (("techniques", "full", "learning_rates"), 1, "techniques.full", "'learning_rate'"),
    (("techniques", "ful"), {}, "techniques", "'ful'", "'full'"),
    ((*TASK, "epoch"), 1, "tasks.mine", "'epoch'", "'epochs'"),
    ((*TASK, "metric"), "acuracy", "tasks.mine.metric", "'acuracy'", "'accuracy'"),
    ((*TASK, "regimes", "lo"), 4, "tasks.mine.regimes", "'lo'", "'low'"),
    ((*TASK, "models"), {"tinny": {}}, "tasks.mine.models", "'tinny'", "'tiny'"),
    ((*TASK, "models"), {"tiny": {"epochz": 1}}, "tasks.mine.models.tiny", "'epochz'", "'epochs'"),
    ((*TASK, "techniques"), {"fulll": {}}, "tasks.mine.techniques", "'fulll'", "'full'"),
    ((*TASK, "techniques"), {"full": {"dropuot": 0.1}}, "tasks.mine.techniques.full", "'dropout'"),
    (("training", "precision"), "float23", "training.precision", "'float23'", "'float32'"),
    (("study",), "mni", "study 'mni'", "'mini'"),
    ((*TASK, "decoder"), {"techniques": {"lorra": {}}}, "mine.decoder.t", "'lorra'", "'lora'"),
]) + settings("used", used, [
    (("tasks", "demo_sentimnt"), {"demo": True}, "yaml: tasks.demo_sentimnt", "'demo_sentiment'"),
    (("tasks", "sst3"), {"path": "mine"}, "yaml: tasks.sst3", "'sst2'", "text, labels, metric"),
]) + settings("study", study, [
    (("task",), ["mine"], "mini.yaml", "'task'", "'tasks'"),
    (("training",), {"epoch": 1}, "training", "'epoch'", "'epochs'"),
    (("models",), ["tinny"], "mini", "models", "'tinny'", "'tiny'"),
    (("tasks",), ["mne"], "mini", "tasks", "'mne'", "'mine'"),
    (("techniques",), ["bv"], "mini", "techniques", "'bv'", "'b_v'"),
    (("regimes",), ["lwo"], "mini.yaml", "regimes", "'lwo'", "'low'"),
    (("selectors",), ["projektion"], "mini.yaml", "selectors", "'projektion'", "'projection'"),
    (("tables",), ["tabel1"], "mini.yaml", "tables", "'tabel1'", "'table1'"),
    (("figures",), ["figure2"], "mini.yaml", "figures", "'figure2'", "'figure"),
    (("timing",), [{**TIMED, "modle": "tiny"}], "mini.yaml", "timing.0", "'modle'", "'model'"),
    (("timing",), [{**TIMED, "model": "tinny"}], "'mini': timing", "'tinny'", "'tiny'"),
    (("timing",), [{**TIMED, "task": "mne"}], "timing", "'mne'", "'mine'"),
    (("timing",), [{**TIMED, "techniques": ["b_v"]}], "timing", "'b_v'", "all_biases"),
    (("merging",), [{**PAIR, "taks": []}], "mini.yaml", "merging.0", "'taks'", "'tasks'"),
    (("merging",), [{**PAIR, "tasks": ["mine", "yours"]}], "'mini': merging", "'yours'", "mine"),
])  # fmt: skip

WRONG_VALUES = settings("params", params, [
    *(((*TASK, "learning_rate"), value, "tasks.mine.learning_rate", word) for value, word in [
        ("fast", "'fast'"), (-1, "-1"), (0, "0"), (float("nan"), "nan"), (float("inf"), "inf"),
        (True, "True"), ([], "number"),
    ]),
    *(((*TASK, "epochs"), value, "tasks.mine.epochs", word) for value, word in [
        (0, "0"), (1.5, "1.5"), (-3, "-3"), (True, "True"), ("3", "'3'"), (2**31, "2147483648"),
    ]),
    ((*TASK, "learning_rate"), 1e308, "tasks.mine.learning_rate", "1e+308"),
    ((*TASK, "path"), "x" * 5000, "tasks.mine.path", "4000 bytes", "xxx..."),
    ((*TASK, "path"), "x" * 300, "tasks.mine.path", "255 bytes", "xxx..."),
    *((("training", key), value, f"training.{key}", word) for key, value, word in [
        ("batch_size", "16", "'16'"), ("batch_size", 0, "0"), ("batch_size", 2.5, "2.5"),
        ("max_length", -128, "-128"), ("weight_decay", -0.1, "-0.1"), ("max_grad_norm", 0, "0"),
        ("dropout", 1.0, "1.0"), ("precision", 16, "16"), ("precision", None, "precision"),
    ]),
    *(((*TASK, "regimes"), sizes, "tasks.mine", word) for sizes, word in [
        ({"low": 0}, "regimes.low"), ({"low": -5}, "-5"), ({"low": "many"}, "'many'"),
        ({"low": 1.5}, "1.5"), ({"low": 2**62}, "2147483648"),
        ({"low": 8, "medium": 4}, "shrink"), (["low"], "regimes"),
        ({"low": "all", "medium": 4}, "shrink"),
    ]),
    *(((*TASK, key), value, "tasks.mine", word) for key, value, word in [
        ("labels", ["only"], "two or more"), ("labels", ["a", "a"], "'a' is listed twice"),
        *(("labels", [*two, "x"], f"one value twice: '{two[0]}' and '{two[1]}'") for two in [
            ("1", "1.0"), ("True", "true"), ("a", "a "), ("0", "-0"), ("1e2", "100"),
        ]),
        ("labels", 5, "labels"), ("text", [], "text"),
        ("text", ["a", "b", "c"], "text"), ("text", "sentence", "text"), ("labels", [], "classes"),
        ("metric", "spearman", "regression"), ("stratify", "perhaps", "stratify"),
        ("validation", ["a", "a"], "listed twice"), ("label", "", "label"),
        ("validation", ["held_out"], "'held_out'"),
        ("validation", ["dev", "train"], "'train' is trained on and evaluated"),
        ("train", "validation", "'validation' is trained on and evaluated"),
    ]),
    *(((*TASK, "labels"), value, "tasks.mine.labels.0: Input should be a valid string", *words)
      for value, *words in [
        ([True, False], "write it in quotes, as YAML reads yes, on and true as True (got True)"),
        ([False, True], "write it in quotes, as YAML reads no, off and false as False (got False)"),
        ([1, 2, 3], "write it in quotes (got 1)"), ([0.5, 1.5], "write it in quotes (got 0.5)"),
      ]),
    (("execution", "threads"), 0, "execution.threads", "0"),
    (("execution", "checkpoint_seconds"), -1, "execution.checkpoint_seconds", "-1"),
    (("execution", "gpu"), "one", "execution.gpu", "'one'"),
    (("models",), ["tiny"], "models", "dict"),
    (("tasks",), None, "tasks", "dict"),
    (("training",), {}, "training.batch_size", "required"),
    (("study",), 5, "study", "5"),
    (("study",), "", "study"),
]) + settings("study", study, [
    *((("seeds",), value, "mini.yaml", "seeds", word) for value, word in [
        ([-1], "-1"), ([1.5], "1.5"), ([True], "True"), (["0"], "'0'"), (0, "list"),
        ([], "least 1"), ([2**31], "2147483648"),
    ]),
    (("models",), "tiny", "mini.yaml", "models", "'tiny'", "list"),
    (("models",), [], "mini.yaml", "models"),
    (("training",), {"epochs": 0}, "mini.yaml", "training.epochs", "0"),
    (("training",), {"held_out": 1}, "mini.yaml", "training.held_out", "1"),
    (("training",), {"held_out": -0.2}, "mini.yaml", "training.held_out", "-0.2"),
    (("training",), {"pooling": "men"}, "mini.yaml", "training.pooling", "'mean'"),
    (("training",), {"evaluations": "lats"}, "mini.yaml", "training.evaluations", "'last'"),
    (("training",), {"class_weights": True}, "mini.yaml", "training.class_weights", "True"),
    *((("timing",), value, "mini.yaml", "timing", word) for value, word in [
        (TIMED, "list"), ([TIMED | {"repeats": 0}], "repeats"), ([{"model": "tiny"}], "required"),
        ([TIMED | {"regime": "lo"}], "'lo'"), ([TIMED | {"techniques": []}], "techniques"),
    ]),
    *((("merging",), [PAIR | {"tasks": tasks}], "mini.yaml", "merging.0.tasks", word)
      for tasks, word in [(["mine"], "2"), (["a", "b", "c"], "2"), (["mine", "mine"], "twice")]),
    (("skip_inert",), "perhaps", "mini.yaml", "skip_inert", "'perhaps'"),
    (("training",), {"objective": "contrastive_pair"}, "training.objective", "'contrastive_pairs'"),
    *((("also",), [{"techniques": [technique], "training": PAIRS}], "tasks.mine", "pairs", word)
      for technique, word in [("full", "trains more"), ("random_uniform", "trains more"),
                              ("head_only", "trains none"), ("linear_probe", "trains none")]),
    *((("also",), [{"techniques": [technique], "training": given}], "tasks.mine", "pooling first")
      for technique, given in [("b_v", {**PAIRS, "pooling": "first"}),
                               ("linear_probe", {"pooling": "first"})]),
    (("regimes",), ["high"], "tasks.mine.regimes", "'high'"),
])  # fmt: skip

SOURCES = settings("params", params, [
    *((("models", "tiny"), value, "models.tiny", word) for value, word in [
        ({"hub": "own/tiny"}, "revision"), (HUB | {"path": TINY}, "either"), ({}, "either"),
        (HUB | {"package": "p/model"}, "sha256"), (HUB | {"sha256": "abc"}, "sha256"),
        (HUB | {"package": "../p", "sha256": "0" * 64}, "package"),
        (HUB | {"package": "p/../q", "sha256": "0" * 64}, "package"),
        ({"hub": "../own", "revision": "r1"}, "'../own'"), (HUB | {"hub": "a/b/c"}, "'a/b/c'"),
        (HUB | {"revision": "../r1"}, "'../r1'"), ({"path": "models/none"}, "models/none"),
        ({"path": "params.yaml"}, "not a directory"),
    ]),
    *(((*TASK, key), value, "tasks.mine", word) for key, value, word in [
        ("hub", "own/data", "exactly one"), ("demo", True, "exactly one"),
        ("path", None, "exactly one"), ("path", "none", "not a directory"),
        ("config", "../x", "'../x'"), ("train", "../x", "'../x'"), ("validation", ["a/b"], "'a/b'"),
    ]),
    ((*TASK, "learning_rate"), None, "tasks.mine", "learning_rate"),
]) + settings("used", used, [
    (("tasks", "theirs"), {"hub": "own/data"}, "params.yaml: tasks.theirs", "revision"),
    (("models", "theirs"), {"hub": "own/m"}, "params.yaml: models.theirs", "revision"),
]) + settings("own", study, [
    (("tasks",), {"yours": {"demo": True}}, "mini.yaml: tasks.yours", "no demo task"),
    (("tasks",), {"yours": {"pth": "mine"}}, "mini.yaml: tasks.yours", "'pth'", "'path'"),
    (("tasks",), {"yours": {"path": "mine", "labels": [1]}}, "tasks.yours.labels.0", "in quotes"),
    (("tasks",), {"yours": 5}, "mini.yaml: tasks.yours", "(got 5)"),
    (("tasks",), {"yours": None}, "study 'mini': tasks: 'yours' unknown"),
    (("tasks",), {"mine": {"demo": True}}, "mini.yaml: tasks.mine", "params.yaml defines this"),
    (("tasks",), {"../x": {"demo": True}}, "mini.yaml: tasks", "'../x'"),
    (("tasks",), {}, "mini.yaml: tasks", "least 1"),
    (("models",), {"own": {"path": "nowhere"}}, "models.own.path", "nowhere", "not a directory"),
    (("models",), {"own": {"path": TINY}, "tinny": None}, "'mini': models: 'tinny'", "'tiny'"),
    (("models",), {"ownn": {"path": TINY}, "own": None}, "'mini': models: 'own'", "'ownn'"),
    (("also",), [{"models": {"own": {"hub": "own/m"}}}], "mini.yaml: models.own", "revision"),
    (("also",), [{"models": {"own": {"path": TINY}}}] * 2, "mini.yaml: models.own: defined twice"),
]) + settings("study", study, [
    (("models",), ["../x"], "mini.yaml", "models", "'../x'"),
    (("models",), ["tiny", "tiny"], "mini.yaml", "models", "'tiny' is listed twice"),
    (("seeds",), [0, 1, 0], "mini.yaml", "seeds", "'0' is listed twice"),
    (("tables",), ["table1", "table1"], "mini.yaml", "tables", "'table1' is listed twice"),
])  # fmt: skip

STUDY_YAML = "studies/mini.yaml"
FILES = [
    Case("study by name missing", nothing, "plan --study mimi", ("'mimi'", "'mini'")),
    Case("study by path missing", nothing, "plan --study ../x/y.yaml", ("y.yaml", "no such")),
    Case("study is a directory", nothing, "plan --study ./studies", ("not a study",)),
    Case("params.yaml missing", remove("params.yaml"), "plan", ("params.yaml", "no such file")),
    Case("params.yaml elsewhere", nothing, "plan --params a/b.yaml", ("a/b.yaml", "no such")),
    *(
        Case(f"study {name}", text(STUDY_YAML, content), "plan", ("mini.yaml", *words))
        for name, content, *words in [
            ("empty", "", "empty"),
            ("only a comment", "# nothing\n", "empty"),
            ("not a mapping", "- tiny\n", "not a mapping"),
            ("not YAML", "models: [tiny\n", "not valid YAML"),
            ("two documents", "a: 1\n---\nb: 2\n", "not valid YAML"),
            ("a control character", "models: [\x00]\n", "not valid YAML"),
            (
                "an object",
                "models: !!python/object/apply:os.getcwd []\n",
                "line 1",
                "not supported",
            ),
            ("a number too long", f"seeds: [0,\n 1{'0' * 6000}]\n", "line 2", "'1000"),
            ("a zero byte", 'models: ["\\0"]\n', "line 1", "printed"),
            ("a list as key", "? [a]\n: 1\n", "line 1", "key"),
            ("a key of two lines", '"a\\nb": 1\n', "unknown key"),
            ("nested beyond reason", "a: " + "[" * 3000, "line 1", "50 levels"),
            ("not UTF-8", b"description: \xff\n", "cannot be read"),
            ("a key twice", "models: [tiny]\ntasks: [mine]\nmodels: [x]\n", "line 3", "'models'"),
            ("an incomplete one", "models: [tiny]\n", "tasks", "required"),
        ]
    ),
    Case(
        "params.yaml: a nested key twice",
        text("params.yaml", "study: mini\ntasks:\n  mine: {epochs: 1, epochs: 2}\n"),
        "plan",
        ("params.yaml", "line 3", "'epochs'", "twice"),
    ),
]

COMMANDS = [
    Case(command, nothing, command, tuple(words))
    for command, *words in [
        ("time data/timings/tiny/mine/low/0.json", "timings", "does not make this file"),
        ("evaluate-merge data/merges/tiny/low/0.json", "merges", "does not make this file"),
        ("merge nothing", "--to"),
        ("merge --to m", "Missing argument", "digests"),
        ("merge xyz xyz --to m", "'xyz'", "runs.csv"),
        ("merge xyz xyz --to m --weights a,b", "--weights", "'a,b'", "0.7,0.3"),
    ]
]

CASES = [*MISSPELT, *WRONG_VALUES, *SOURCES, *FILES, *COMMANDS]
