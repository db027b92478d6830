# Gathers runs and scores into csv files, and makes tables, figures and the page from those alone.
#
# In:  all manifests, scores, timings and merges of the study
# Out: reports/*.csv, settings.json   the measurements and the study's settings
#      data/collected/{digest}.json   names the study that reports/ shows; the only such file
#      reports/tables/, metrics.json  tables as csv, Markdown and LaTeX; numbers for `dvc metrics`
#      reports/figures/               svg, png and pdf
#      reports/index.html             everything on one page
#      reports/checksums.json         SHA-256 of every file above, for `beft verify`


localrules:
    collect,
    tabulate,
    plot,
    page,


rule collect:
    input:
        manifests=MANIFESTS,
        scores=SCORES,
        timings=TIMINGS,
        merges=MERGES,
    output:
        expand("reports/{frame}.csv", frame=FRAMES),
        settings="reports/settings.json",
        stamp=f"data/collected/{PROJECT.fingerprint}.json",
    log:
        "logs/collect.log",
    benchmark:
        "logs/collect.tsv"
    params:
        study=study,
        code=REPORT_CODE,
    shell:
        "beft collect" " --study {params.study:q}" " 2>&1 | tee {log:q}"


rule tabulate:
    input:
        rules.collect.output,
    output:
        [
            report(
                f"reports/tables/{table}.csv",
                category="Tables",
                labels={"table": table},
                caption=f"../report/{table}.rst",
            )
            for table in PROJECT.study.tables
        ],
        expand(
            "reports/tables/{table}.{format}",
            table=PROJECT.study.tables,
            format=["md", "tex"],
        ),
        metrics="reports/metrics.json",
    log:
        "logs/tabulate.log",
    benchmark:
        "logs/tabulate.tsv"
    params:
        code=REPORT_CODE,
    shell:
        "beft tabulate" " 2>&1 | tee {log:q}"


rule plot:
    input:
        rules.collect.output,
    output:
        [
            report(
                f"reports/figures/{figure}.png",
                category="Figures",
                labels={"figure": figure},
                caption=f"../report/{figure}.rst",
            )
            for figure in PROJECT.study.figures
        ],
        expand(
            "reports/figures/{figure}.{format}",
            figure=PROJECT.study.figures,
            format=["svg", "pdf"],
        ),
    log:
        "logs/plot.log",
    benchmark:
        "logs/plot.tsv"
    threads: 4  # one process per figure
    params:
        code=REPORT_CODE,
    shell:
        "beft plot" " 2>&1 | tee {log:q}"


rule page:
    input:
        rules.collect.output,
        rules.tabulate.output,
        rules.plot.output,
    output:
        report(
            "reports/index.html",
            category="Page",
            labels={"page": "everything"},
            caption="../report/page.rst",
        ),
        checksums="reports/checksums.json",
    log:
        "logs/page.log",
    benchmark:
        "logs/page.tsv"
    params:
        code=REPORT_CODE,
    shell:
        "beft page" " 2>&1 | tee {log:q}"
