#!/usr/bin/env bash
# Trains the packaged model from PTB-XL 1.0.3 (https://doi.org/10.13026/kfzx-aw45). With the fifth of PTB-XL that was
# used, this takes about two hours on two CPU cores. With all of PTB-XL, the number of steps is the same.
#
#   bash examples/cgdmer-tiny-ptbxl/recipe.sh PTB_XL_DIR WORK_DIR
#
# There are three stages: simulated patients; then PTB-XL together with simulated patients, masked signals against
# texts; then a short stage with whole signals against texts. The last two run once on folds 1-7, to evaluate and
# calibrate on fold 8, and once on folds 1-8. After an interruption, run it again to resume. docs/journal.md lists what
# was tried before.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
raw=$(cd "$1" && pwd)
mkdir -p "$2"
cd "$2"

test -d ptbxl || cgdmer prepare ptb-xl "$raw" ptbxl
test -d tuning -a -d final || python "$here/folds.py" ptbxl tuning final
test -d simulated || python "$here/simulated.py" simulated 16000

settings="--text_source statements --texts_per_record 4 --seed 0
    --lead_dropout 0.2 --noise 0.03 --gain 0.1
    --weight_decay 0.05 --num_warmup_steps 50
    --checkpointing_steps 100 --checkpoints_total_limit 1 --resume_from_checkpoint latest"
train() { # OUTPUT_DIR, then the options that differ; the file is the last that `pretrain` writes
    test -f "$1/training_records.safetensors" || python -m cgdmer.pretrain --output_dir "$@" $settings
}
train simulated-run --config_name cgdmer-tiny --dataset simulated --max_train_steps 2000 --learning_rate 1e-3
for folds in tuning final; do
    test -d $folds-mixed || python "$here/mixed.py" $folds simulated $folds-mixed
    train $folds-masked --model simulated-run --dataset $folds-mixed --wordings \
        --max_train_steps 1400 --learning_rate 1e-3
    test -d $folds-start || python "$here/unmask.py" $folds-masked $folds-start
    train $folds-run --model $folds-start --dataset $folds-mixed --wordings \
        --max_train_steps 200 --learning_rate 3e-4
done
python "$here/ship.py" final-run tuning-run cgdmer-tiny-ptbxl
tasks="ptbxl-super ptbxl-sub ptbxl-form ptbxl-rhythm"
# Fold 8, which the tuning run did not see. Use it to choose settings; stop here while you are still choosing.
test -f results-fold-8/ptbxl-rhythm/results.json ||
    cgdmer evaluate tuning-run --dataset tuning --splits validation --probed_feature embeds --tasks $tasks \
        --output_dir results-fold-8
# Folds 9 and 10: the results on the model card.
test -f results/ptbxl-rhythm/results.json ||
    cgdmer evaluate ./cgdmer-tiny-ptbxl --dataset ptbxl --splits validation test --robustness \
        --probed_feature embeds --tasks $tasks --output_dir results
python "$here/figures.py" results
