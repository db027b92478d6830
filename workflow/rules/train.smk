# Trains each pack in one job: all runs of a (model, task, regime, technique), or of all techniques.
#
# In:  the dataset, the subsets and the model of the pack's runs (`ancient`: their path holds their
#      identity, so times do not matter)
# Out: data/packs/{model}/{task}/{regime}/{digest}.json   the runs with their checksums
#
# Run folders are not declared as outputs: snakemake deletes declared outputs of a failed job, but
# finished runs must survive. The job skips finished valid runs and resumes unfinished ones.
#
# On SIGTERM, training writes a checkpoint; `trap` makes shell and log wait for it.


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
        mem_mb=lambda w, attempt: request_of_pack(w).memory_mb * attempt,
        runtime=lambda w, attempt: request_of_pack(w).runtime_minutes * attempt,
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
