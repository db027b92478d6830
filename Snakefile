# The whole pipeline: turns params.yaml and one study into tables and figures.
#
#   snakemake --cores 2                          run the study that params.yaml names
#   snakemake --cores 2 --config study=table1    run another study, by name or path
#   snakemake -n                                 list what would run
#   snakemake --profile slurm                    run on a cluster


container: "beft.sif"  # with --sdm apptainer; built from workflow/envs/beft.def


include: "workflow/rules/common.smk"
include: "workflow/rules/data.smk"
include: "workflow/rules/train.smk"
include: "workflow/rules/select.smk"
include: "workflow/rules/measure.smk"
include: "workflow/rules/report.smk"
include: "workflow/rules/slurm.smk"


localrules:
    all,
    data,
    runs,
    reports,


# Each target lists all intermediate files too. Otherwise snakemake would not make a missing
# intermediate file while the final one exists, as in a clone with reports but without runs.
rule data:
    input:
        SOURCES,
        SUBSETS,


rule runs:
    input:
        rules.data.input,
        MANIFESTS,


rule reports:
    input:
        rules.runs.input,
        SCORES,
        TIMINGS,
        MERGES,
        rules.collect.output,
        rules.tabulate.output,
        rules.plot.output,
        rules.page.output,


rule all:
    default_target: True
    input:
        rules.reports.input,
