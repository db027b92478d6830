# Times single runs and evaluates merged biases, if the study names any.
#
# In:  time: the dataset, the subsets and the model of the timed runs
#      merge: datasets and model of the two tasks, and manifests of the packs that hold their runs
# Out: data/timings/{model}/{task}/{regime}/{digest}.json   seconds of every repeat
#      data/merges/{model}/{regime}/{digest}.json           metrics of every bias on every task
#
# While a run is timed, no other job may use the machine. So `time` takes all cores of a local call,
# and an exclusive node on a cluster (slurm/profile.yaml), but computes with the threads of a normal
# run. Manifests are not among its inputs: otherwise one more seed would time everything again.


rule time:
    input:
        source=ancient(lambda w: f"data/sources/{timed(w).recipes[0].source_path()}/source.json"),
        model=ancient(lambda w: f"data/models/{timed(w).recipes[0].model_path()}"),
        subsets=ancient(
            lambda w: sorted({f"data/subsets/{r.subset_path()}" for r in timed(w).recipes})
        ),
    output:
        "data/timings/{model}/{task}/{regime}/{digest}.json",
    log:
        "logs/time/{model}/{task}/{regime}/{digest}.log",
    benchmark:
        "logs/time/{model}/{task}/{regime}/{digest}.tsv"
    threads: max(workflow.resource_settings.cores or 1, EXECUTION.threads)
    resources:
        mem_mb=lambda w, attempt: request_of_timing(w)[0] * attempt,
        runtime=lambda w, attempt: request_of_timing(w)[1] * attempt,
        gpu=EXECUTION.gpu,
    params:
        study=study,
        device=device,
        threads=threads_of_a_run,
    shell:
        "trap : TERM; beft time"
        " --study {params.study:q}"
        " --device {params.device}"
        " --threads {params.threads}"
        " {output:q}"
        " 2>&1 | (trap '' INT TERM; exec tee {log:q})"


rule merge:
    input:
        manifests=manifests_of_merge,
        sources=ancient(
            lambda w: sorted(
                {f"data/sources/{r.source_path()}/source.json" for r in merged(w).recipes()}
            )
        ),
        model=ancient(lambda w: f"data/models/{merged(w).recipes()[0].model_path()}"),
    output:
        "data/merges/{model}/{regime}/{digest}.json",
    log:
        "logs/merge/{model}/{regime}/{digest}.log",
    benchmark:
        "logs/merge/{model}/{regime}/{digest}.tsv"
    threads: EXECUTION.threads
    resources:
        mem_mb=lambda w, attempt: request_of_merge(w).memory_mb * attempt,
        runtime=lambda w, attempt: request_of_merge(w).runtime_minutes * attempt,
        gpu=EXECUTION.gpu,
    params:
        study=study,
        device=device,
    shell:
        "beft evaluate-merge"
        " --study {params.study:q}"
        " --device {params.device}"
        " --threads {threads}"
        " {output:q}"
        " 2>&1 | tee {log:q}"
