# Two targets: `api` (API, io, commands; no torch) and `worker` (trainer and engine).
#
#   docker build --target api -t luthier-api .
#   docker build --target worker -t luthier-worker .
#
# Every package is a wheel, checked against its hash in requirements/. torch's default Linux build runs on
# CUDA and on a CPU alike; on a CPU alone its size is wasted.

FROM python:3.11-slim AS api-packages
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore UV_NO_CACHE=1 UV_COMPILE_BYTECODE=1 \
    PYTHONUNBUFFERED=1 PYTHONPATH=/srv/luthier LUTHIER_HOME=/var/lib/luthier
WORKDIR /srv/luthier
RUN useradd --system --uid 10001 --create-home --home-dir /var/lib/luthier luthier
COPY requirements requirements
RUN pip install --no-cache-dir --only-binary :all: -r requirements/uv.lock \
 && uv pip install --system --no-deps --no-build --require-hashes -r requirements/api.lock

# The engine's native kernels, for all CPUs of this architecture: the images have no compiler.
FROM gcc:14-bookworm AS kernels
RUN apt-get update && apt-get install -y --no-install-recommends python3 && rm -rf /var/lib/apt/lists/*
WORKDIR /srv/luthier
COPY app/__init__.py app/c_compiler.py app/
COPY worker/__init__.py worker/
COPY worker/inference/__init__.py worker/inference/
COPY worker/inference/native worker/inference/native
RUN python3 -m worker.inference.native.build worker/inference/native/prebuilt

FROM api-packages AS worker-packages
RUN uv pip install --system --no-deps --no-build --require-hashes \
    -r requirements/runtime.lock -r requirements/torch.lock

FROM api-packages AS api
COPY models.toml LICENSE README.md ./
COPY examples examples
COPY migrations migrations
COPY app app
COPY worker worker
USER luthier
VOLUME /var/lib/luthier
EXPOSE 8000
ENTRYPOINT ["python", "-m"]
CMD ["app.cli", "api"]

FROM worker-packages AS worker
COPY models.toml LICENSE README.md ./
COPY migrations migrations
COPY app app
COPY worker worker
COPY --from=kernels /srv/luthier/worker/inference/native/prebuilt worker/inference/native/prebuilt
USER luthier
VOLUME /var/lib/luthier
EXPOSE 8100
ENTRYPOINT ["python", "-m"]
CMD ["worker.inference"]
