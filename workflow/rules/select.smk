# Scores of every bias term of a (model, task, regime), from cached snapshots and gradients.
#
# In:  manifests of the packs that hold the runs of `all_biases` and `untuned`
# Out: data/scores/{model}/{task}/{regime}/{digest}.csv


localrules:
    score,


rule score:
    input:
        manifests_of_cell,
    output:
        "data/scores/{model}/{task}/{regime}/{digest}.csv",
    log:
        "logs/score/{model}/{task}/{regime}/{digest}.log",
    benchmark:
        "logs/score/{model}/{task}/{regime}/{digest}.tsv"
    params:
        study=study,
    shell:
        "beft score" " --study {params.study:q}" " {output:q}" " 2>&1 | tee {log:q}"
