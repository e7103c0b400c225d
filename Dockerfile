# CPU:  docker build -t ankleseg .
# GPU:  docker build -t ankleseg:gpu --build-arg CUDA=true .   then   docker run --gpus all …
FROM python:3.11-slim

ARG CUDA=false
ARG TORCH=2.13.0
ARG CPU_INDEX=https://download.pytorch.org/whl/cpu

WORKDIR /opt/ankleseg
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY ankleseg ankleseg
COPY conf conf
# The CPU build of PyTorch comes first, so that the install below is content with it and takes no CUDA packages.
RUN if [ "$CUDA" = "false" ]; then pip install --no-cache-dir "torch==$TORCH" --index-url "$CPU_INDEX"; fi \
 && pip install --no-cache-dir --constraint constraints.txt .
WORKDIR /data
ENTRYPOINT ["python", "-m"]
CMD ["ankleseg.train", "--help"]
