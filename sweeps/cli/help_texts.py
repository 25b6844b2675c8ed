"""What `grasp VERB --help` teaches."""

SWEEP_HELP = """\
A sweep is tasks x world models x planners x horizons x seeds. Every finished cell is kept in OUTPUT/ledger, so a sweep that
is run again plans only what is missing: after Ctrl-C, after a crash, or after adding seeds, horizons or planners.

examples
  grasp sweep                                           the default sweep (conf/sweep/default.yaml)
  grasp sweep --dry-run seeds=64                        how many cells that would be, how many are new, how long it takes
  grasp sweep task=push_t planner=grasp,cem seeds=16    one task, two planners, 16 seeds
  grasp sweep name=long task=wall horizons=[50,100]     under its own name, so that `grasp report long` finds it
  grasp sweep planners.grasp.settings.iterations=200    one setting; it wins over the tuned rules in conf/planner
  grasp sweep mode=open_loop,mpc:10                     plans executed to the end, and replanned every 10 environment steps
  grasp sweep seeds.start=100 backend=inline            other problems, in this process, without Ray
  grasp sweep --conf my_conf sweep=mine                 my_conf/sweep/mine.yaml
  grasp sweep sweep=h50,h100                            two sweeps on one pool, each cell once, a table for each
  grasp sweep --join sweep=h100                         beside a driver that runs: it plans these cells as well
  grasp sweep backend.address=auto                      on the Ray cluster that this machine belongs to

Ctrl-C lets what is in flight arrive and says how to go on; a second one stops at once. Either way nothing recorded is lost.
"""

STATUS_HELP = """\
Shows what the driver of a sweep is doing, from another terminal or machine that sees the output folder: cells, rate, time left,
workers and what they plan, cells that had to be tried again, and what waits to be tracked. Of a driver that died it says so.

examples
  grasp status
  grasp status h50 --watch
  grasp status h50 --json output=/data/run
"""

PLAN_HELP = """\
Plans one problem in this process, executes the plan in the simulator, prints what happened and saves a picture and a film to
OUTPUT/plans.

examples
  grasp plan                                            the wall with GRASP
  grasp plan task=push_t planner=cem horizon=50 seed=3
  grasp plan task=wall world_model=outputs/models/wall planners.grasp.settings.iterations=500
  grasp plan task=push_t mode=mpc:10                    replanned every 10 environment steps
"""

DIAGNOSE_HELP = """\
Measures on one task and world model what GRASP is built on, and says of each claim whether it is shown: how the curvature of
the shooting and of the lifted objective grows with the horizon, gradients by time step, brittle state gradients, and what
success and time become when noise, sync, detachment or goal term are taken away. Figures and tables go to
OUTPUT/diagnose/TASK-MODEL and to MLflow. The rule behind each verdict is in claims.csv and in docs/diagnose.md.

examples
  grasp diagnose                                        the wall and its own model, under 5 minutes
  grasp diagnose task=push_t horizons=[10,20,30,40,50]
  grasp diagnose task=wall world_model=outputs/models/wall problems=32
  grasp diagnose seeds.count=64 ablation.attempts=3     more problems for the ablation, and three attempts each
  grasp diagnose planners.grasp.settings.noise=0.2      GRASP with another setting, and its parts taken away
  grasp diagnose backend=ray                            the ablation on Ray actors
"""

REPORT_HELP = """\
Prints the tables of a sweep from the ledger and writes report.html (open it in a browser), report.txt, .csv and .tex, and
figures as PNG and PDF, to OUTPUT/sweeps/SWEEP.

examples
  grasp report                   the latest sweep
  grasp report smoke
  grasp report output=/data/run  another output folder
"""

COMPARE_HELP = """\
Compares two sweeps, task by task, planner by planner and horizon by horizon, on the seeds that both have planned: of two code
revisions, two world models, or two settings. It names a better one only where the test, adjusted for all comparisons, does.

examples
  grasp compare before after
  grasp compare smoke smoke@/data/old_outputs      sweeps of the same name in two output folders
"""

RERUN_HELP = """\
Plans a cell of the ledger again from its record alone: task, world model, planner, settings, horizon and seed are in it. It is
planned alone, whatever it once shared a batch with. Exit code 0: same success, and a distance within 0.001 of it; else 1.

examples
  grasp rerun 3f9a2c             the cell whose id begins so (the ledger's column cell_id)
  grasp rerun 3f9a2c output=/data/run
"""

EXPORT_HELP = """\
Writes one zip file: the sweep's grid and config (without secrets), its records as Parquet, its report, the world models' names
and content digests, and every installed package. World models themselves are not in it.

examples
  grasp export                         the latest sweep, to SWEEP.grasp.zip
  grasp export smoke --to /tmp/smoke.zip
"""

IMPORT_HELP = """\
Reads what grasp export has written: its cells join the ledger, its report works as if it had been run here, and running the
sweep again plans what is missing. Records are checked against their ids; nothing in the file is executed.

examples
  grasp import smoke.grasp.zip
  grasp import smoke.grasp.zip --name theirs output=/data/run
"""

TRAIN_HELP = """\
Collects data in the simulator, trains, and writes weights and a model card. Stopped and started again, it goes on.

examples
  grasp train wall                                      to outputs/models/wall
  grasp train all out=world_models/zoo                  every model that ships with the package
  grasp train push_t train.trajectories=500 out=/tmp/models
"""

MODELS_HELP = """\
Lists the models that ship, or those that are named. The error is between predicted and true position after n steps of the
data's own actions, without looking at the simulator in between; in brackets its share of the error of predicting that nothing
moves. `inspect` says what a checkpoint file is and which tasks it fits, `import` makes it one of ours; neither runs anything
that a file holds. docs/checkpoints.md tells which kinds are read.

examples
  grasp models
  grasp models outputs/models/wall
  grasp models inspect lewm/weights.pt
  grasp models import lewm/weights.pt --name lewm --task push_t --readout
  grasp models import agent.pt --name mine --task wall action_block=1 speed=1.0
"""

SYNC_HELP = """\
A sweep goes on while MLflow is away, and what MLflow has not been told waits in OUTPUT/outbox. The next run of a sweep writes
it, and so does this, by hand: it can be stopped and run again, and writes nothing twice. Named sweeps are compared with MLflow
in full. Credentials: MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN; docs/tracking.md.

examples
  grasp sync                                     all that waits
  grasp sync smoke                               one sweep, whatever MLflow has of it
  grasp sync output=/data/run
  grasp sync smoke tracking.uri=http://tracking:5000    to another server
"""

UI_HELP = """\
Starts MLflow's own server on this machine over the store of the output folder, and says where to click.

examples
  grasp ui
  grasp ui --port 5001 output=/data/run
  grasp ui tracking.uri=postgresql://tracking/mlflow    over another store; of a server, its address is printed
"""

TUNE_HELP = """\
A study suggests settings of one planner (trials), plans each on the same problems, gives up those that are clearly worse than
the best, and judges the best few on problems that no trial has seen, against the planner's own settings.

examples
  grasp tune task=push_t horizons=50                     60 trials of GRASP's settings on Push-T
  grasp tune task=push_t horizons=50 trials=120          the same study goes on to 120
  grasp tune study=joint                                 one set of settings for four places, judged by the worst
  grasp tune planner=cem constraints.seconds=1           CEM, at most a second a plan
  grasp tune study=pareto                                success against time: a front, nothing pruned
  grasp tune space.noise.high=4 '~space.init_noise'      another space; what is searched: sweeps/conf/space/grasp.yaml
  grasp tune planners.grasp.settings.iterations=200      fixes a setting instead of tuning it
  grasp tune sampler.name=gp                             or random, cmaes, nsga2, nsga3; pruning.enabled=false
  grasp tune warm_start=push_t-H50-grasp horizons=100    begins with another study's best three
  grasp tune optuna.storage=postgresql://me@db/optuna    several drivers, each with its own output=, share a study
  grasp tune apply push_t-H50-grasp --name mine          writes conf/planner/mine.yaml, for grasp sweep --conf conf planner=mine
  grasp ui --optuna                                      optuna-dashboard over all studies

Ctrl-C (or kill -9) costs nothing that has finished: the same command goes on. docs/tuning.md says more.
"""
"""Of `grasp tune`."""

QUALITY_HELP = """\
The study behind docs/planning-quality.md. Every planner is tuned with the same number of trials, then all meet on problems
that nothing was chosen on: with their own budgets, within GRASP's seconds, and replanned on the way; GRASP also with pieces
taken away and with other settings. Then results.parquet, figures and page are written. What would run is said first.

examples
  grasp quality --dry-run                                  stages, cells that are lacking, and how long they take
  grasp quality                                            all of it, at most 8 hours on 2 cores; the same command goes on
  grasp quality planning_quality=quick output=/tmp/quick   every stage in under 4 minutes, to see that it works
  grasp quality --from docs/planning-quality/results.parquet      page and figures again, without ledger or planning
  grasp quality --conf my_conf planning_quality=mine       my_conf/planning_quality/mine.yaml, a study of your own

What is planned: sweeps/conf/planning_quality. Studies, sweeps and cells are ordinary ones: grasp report quality_own_push_t_H50.
"""
"""Of `grasp quality`."""
