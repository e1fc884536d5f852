#!/usr/bin/env bash
# The model that comes with the package, from PTB-XL 1.0.3 (https://doi.org/10.13026/kfzx-aw45): about two hours on two
# CPU cores with the fifth of PTB-XL that it was made of; the steps are as many with all of it.
#
#   bash examples/cgdmer-tiny-ptbxl/recipe.sh PTB_XL_DIR WORK_DIR
#
# Simulated patients first; then PTB-XL with simulated ones beside it, masked signals against texts; then whole signals
# against texts, shortly. The last two once on folds 1-7, to see on fold 8 what comes of them and to calibrate, and once
# on folds 1-8.
# Started again after an interruption it goes on where it was. What was tried before is in docs/journal.md.
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
train() { # OUTPUT_DIR, and what differs; `pretrain` writes the file last
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
# Fold 8, which the tuning run did not see: by it settings are chosen. Who goes on searching stops here.
test -f results-fold-8/ptbxl-rhythm/results.json ||
    cgdmer evaluate tuning-run --dataset tuning --splits validation --probed_feature embeds --tasks $tasks \
        --output_dir results-fold-8
# Folds 9 and 10: what the card says.
test -f results/ptbxl-rhythm/results.json ||
    cgdmer evaluate ./cgdmer-tiny-ptbxl --dataset ptbxl --splits validation test --robustness \
        --probed_feature embeds --tasks $tasks --output_dir results
python "$here/figures.py" results
