#!/usr/bin/env bash
# The model that comes with the package, from PTB-XL 1.0.3 (https://doi.org/10.13026/kfzx-aw45): about 40 minutes on two
# CPU cores with the fifth of PTB-XL that it was made of, four hours with all of it.
#
#   bash examples/cgdmer-tiny-ptbxl/recipe.sh PTB_XL_DIR WORK_DIR
#
# Started again after an interruption it goes on where it was. What was tried before is in docs/journal.md.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
raw=$(cd "$1" && pwd)
mkdir -p "$2"
cd "$2"

test -d ptbxl || cgdmer prepare ptb-xl "$raw" ptbxl
test -d tuning -a -d final || python "$here/folds.py" ptbxl tuning final

settings="--config_name cgdmer-tiny --text_source statements --wordings --seed 0
    --lead_dropout 0.2 --noise 0.03 --gain 0.1
    --num_train_epochs 26 --learning_rate 1e-3 --weight_decay 0.05 --num_warmup_steps 50
    --checkpointing_steps epoch --checkpoints_total_limit 1 --resume_from_checkpoint latest"
for run in tuning final; do
    test -f $run-run/model.safetensors || python -m cgdmer.pretrain --dataset $run --output_dir $run-run $settings
done
python "$here/ship.py" final-run tuning-run cgdmer-tiny-ptbxl
# The card's figures: fold 8, which the tuning run did not see. Folds 9 and 10 (`--dataset ptbxl --test_splits validation
# test` with the shipped model) are for when the search has ended.
cgdmer evaluate tuning-run --dataset tuning --test_splits validation --robustness --skip_linear_probe \
    --output_dir results --tasks ptbxl-super ptbxl-sub ptbxl-form ptbxl-rhythm
