# Scores every bias term of a (model, task, regime) from cached snapshots and gradients.
#
# In:  manifests of the packs that hold the runs of `all_biases` and `untuned`
# Out: data/scores/{model}/{task}/{regime}/{digest}.csv
#      ... .epochs.csv      scores of q, k and v after each epoch, for every setting
#      ... .gradients.csv   size of each term's gradient before training


localrules:
    score,


rule score:
    input:
        manifests_of_cell,
    output:
        scores="data/scores/{model}/{task}/{regime}/{digest}.csv",
        epochs="data/scores/{model}/{task}/{regime}/{digest}.epochs.csv",
        gradients="data/scores/{model}/{task}/{regime}/{digest}.gradients.csv",
    log:
        "logs/score/{model}/{task}/{regime}/{digest}.log",
    benchmark:
        "logs/score/{model}/{task}/{regime}/{digest}.tsv"
    params:
        study=study,
    shell:
        "beft score" " --study {params.study:q}" " {output.scores:q}" " 2>&1 | tee {log:q}"
