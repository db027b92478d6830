# What a study measures besides its runs: seconds of single runs, and merged biases.
#
# In:  time: the dataset, the index files and the model of the runs that are timed
#      merge: the same of the two tasks, and the manifests of the packs that hold their runs
# Out: data/timings/{model}/{task}/{regime}/{digest}.json   seconds of every repeat
#      data/merges/{model}/{regime}/{digest}.json           metrics of every bias on every task
#
# A run is timed with the machine to itself: `time` takes all cores of a local call, so that
# snakemake starts nothing beside it, and a node of its own on a cluster (slurm/profile.yaml). It
# computes with the threads that a run would have. It has no manifests among its inputs, since a
# seed more would then time everything again.


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
        mem_mb=lambda w, attempt: asked_to_time(w)[0] * attempt,
        runtime=lambda w, attempt: asked_to_time(w)[1] * attempt,
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
        mem_mb=lambda w, attempt: asked_to_merge(w).memory_mb * attempt,
        runtime=lambda w, attempt: asked_to_merge(w).runtime_minutes * attempt,
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
