# The whole pipeline: params.yaml and one study in, tables and figures out.
#
#   snakemake --cores 2                          the study that params.yaml names
#   snakemake --cores 2 --config study=table1    another one, by name or path
#   snakemake -n                                 what would run
#   snakemake --profile slurm                    the same on a cluster


configfile: "params.yaml"


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


# Each target names all files on the way to it: of what is only on the way, snakemake makes nothing
# again once the end is there, as in a clone with reports but without runs.
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
