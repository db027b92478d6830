# One job per pack: all runs of a (model, task, regime, technique), or of all techniques.
#
# In:  the dataset, the index files and the model that the pack's runs use (their identity is in
#      their path, hence `ancient`)
# Out: data/packs/{model}/{task}/{regime}/{digest}.json   the runs with their checksums
#
# Run folders are not declared: snakemake deletes what a failed job declared, and finished runs
# must survive. The job skips runs that are there and sound, and resumes half-done ones.
#
# On SIGTERM training writes a checkpoint; shell and log wait for it.


rule train:
    input:
        source=ancient(lambda w: f"data/sources/{pack_of(w)[0].source_path()}/source.json"),
        model=ancient(lambda w: f"data/models/{pack_of(w)[0].model_path()}"),
        subsets=ancient(lambda w: sorted({f"data/subsets/{r.subset_path()}" for r in pack_of(w)})),
    output:
        "data/packs/{model}/{task}/{regime}/{digest}.json",
    log:
        "logs/train/{model}/{task}/{regime}/{digest}.log",
    benchmark:
        "logs/train/{model}/{task}/{regime}/{digest}.tsv"
    threads: EXECUTION.threads
    resources:
        mem_mb=lambda w, attempt: asked(w).memory_mb * attempt,
        runtime=lambda w, attempt: asked(w).runtime_minutes * attempt,
        gpu=EXECUTION.gpu,
    params:
        study=study,
        device=device,
    shell:
        "trap : TERM; beft train"
        " --study {params.study:q}"
        " --device {params.device}"
        " --threads {threads}"
        " {output:q}"
        " 2>&1 | (trap '' INT TERM; exec tee {log:q})"
