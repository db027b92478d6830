"""Names of the frames, of their columns, and of the columns that identify a cell.

Imports no pandas: the rules of the workflow read the names, too.
"""

CELL = ["model", "task", "regime"]
KEYS = [*CELL, "technique"]
# columns of provenance that say what made a run
MACHINE = ["commit", "dirty", "code", "device", "hardware", "threads", "precision", "python"]
MACHINE += ["torch", "transformers", "beft"]
_NAMES = {
    "runs": (
        "study,model,task,regime,technique,seed,learning_rate,epochs,train_examples,metric,best,"
        "last,trainable_params,trainable_percent,train_seconds,peak_memory_mb,status,digest,guessing,"
        "constant"
    ),
    "evaluations": "digest,split,metric,best,last,guessing,demonstrations,least_demonstrations",
    "history": "digest,epoch,train_loss,split,metric,value",
    "problems": "digest,status,reason",
    "provenance": (
        "digest,commit,dirty,code,device,hardware,threads,precision,precision_setting,python,torch,"
        "transformers,beft,started,command,added_biases,tokens_per_pass,passes_refused"
    ),
    "scores": "model,task,regime,seed,selector,term,layer,score,rank,inert",
    "trajectories": "digest,selector,epoch,q,k,v",
    "gradients": "model,task,regime,seed,term,mean_abs,relative,inert",
    "intervals": "model,task,regime,technique,split,epoch,low,high,runs,examples,note",
    "comparisons": (
        "model,task,regime,split,epoch,first,second,difference,low,high,runs,examples,"
        "p_runs,p_examples,p_runs_corrected,p_examples_corrected,family,note"
    ),
    "timings": (
        "model,task,regime,technique,seed,repeat,seconds,train_seconds,status,device,hardware,"
        "threads,digest"
    ),
    "merges": (
        "model,regime,technique,first,second,seed,bias,head,task,split,metric,value,status,reason,"
        "tuned_cosine,tuned_degrees,shift_cosine,shift_degrees"
    ),
}
# columns that hold numbers, in whichever frame they are (`best` and `last` are names elsewhere)
_NUMBERS = (
    "seed,learning_rate,epochs,train_examples,best,last,guessing,trainable_params,"
    "trainable_percent,train_seconds,peak_memory_mb,demonstrations,least_demonstrations,"
    "train_loss,value,threads,added_biases,tokens_per_pass,passes_refused,score,rank,q,k,v,"
    "mean_abs,relative,low,high,runs,examples,difference,p_runs,p_examples,p_runs_corrected,"
    "p_examples_corrected,family,repeat,seconds,tuned_cosine,tuned_degrees,shift_cosine,"
    "shift_degrees"
)
NUMBERS = frozenset(_NUMBERS.split(","))
COLUMNS = {frame: names.split(",") for frame, names in _NAMES.items()}
