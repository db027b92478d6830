# Brings datasets and models from mirror, hub, local files or the demo's generator into data/.
#
# Out: data/sources/{task}/{digest}/source.json   and normalised parquet, one file per split
#      data/models/{model}/{digest}.json          path of the weights, and their SHA-256
#      data/subsets/{task}/{regime}/seed-{seed}/{digest}.parquet   rows of the training subset
#
# Fetching may need the network, which jobs lack, so it runs on the machine that runs snakemake.


localrules:
    fetch,
    fetch_model,
    subsample,


rule fetch:
    output:
        "data/sources/{task}/{digest}/source.json",
    log:
        "logs/fetch/{task}/{digest}.log",
    benchmark:
        "logs/fetch/{task}/{digest}.tsv"
    params:
        study=study,
    shell:
        "beft fetch" " --study {params.study:q}" " --task {wildcards.task:q}" " 2>&1 | tee {log:q}"


rule fetch_model:
    output:
        "data/models/{model}/{digest}.json",
    log:
        "logs/fetch_model/{model}/{digest}.log",
    benchmark:
        "logs/fetch_model/{model}/{digest}.tsv"
    params:
        study=study,
    shell:
        "beft fetch"
        " --study {params.study:q}"
        " --model {wildcards.model:q}"
        " 2>&1 | tee {log:q}"


rule subsample:
    input:
        source=ancient(source_of_subset),
    output:
        "data/subsets/{task}/{regime}/seed-{seed}/{digest}.parquet",
    log:
        "logs/subsample/{task}/{regime}/seed-{seed}/{digest}.log",
    benchmark:
        "logs/subsample/{task}/{regime}/seed-{seed}/{digest}.tsv"
    params:
        study=study,
    shell:
        "beft subsample" " --study {params.study:q}" " {output:q}" " 2>&1 | tee {log:q}"
