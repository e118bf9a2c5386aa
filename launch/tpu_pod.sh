#!/usr/bin/env bash
# Trains a config on all hosts of a TPU pod slice:
#
#   NAME=my-pod ZONE=us-central2-b bash launch/tpu_pod.sh \
#       --config=configs/dalle2/decoder.py --workdir=/shared/runs/dalle2 \
#       '--config.data.source=webdataset:/shared/pairs/*.tar'
#
# NAME and ZONE are those of a TPU VM that exists (`gcloud compute tpus tpu-vm create`). The project
# is copied to each host and installed there; the hosts find each other by the pod's own metadata.
# The workdir has to be on a disk that all hosts see, such as a mounted Filestore. PYTHON names the
# hosts' interpreter, if python3 there is older than 3.11.
set -euo pipefail
cd "$(dirname "$0")/.."
: "${NAME:?the name of the TPU is missing: NAME=…}" "${ZONE:?its zone is missing: ZONE=…}"

gcloud="${GCLOUD:-gcloud}"
archive=$(mktemp --suffix=.tar.gz)
trap 'rm -f "$archive"' EXIT
git archive --format=tar.gz --output="$archive" HEAD
"$gcloud" compute tpus tpu-vm scp "$archive" "$NAME:dalle_jax.tar.gz" --zone="$ZONE" --worker=all
options=$(printf ' %q' "$@")
"$gcloud" compute tpus tpu-vm ssh "$NAME" --zone="$ZONE" --worker=all --command="
    set -e
    mkdir -p dalle_jax && tar -xzf dalle_jax.tar.gz -C dalle_jax && cd dalle_jax
    PYTHON=$(printf %q "${PYTHON:-python3}") bash launch/install.sh tpu
    .venv/bin/dalle-jax train$options"
