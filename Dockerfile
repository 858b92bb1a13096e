# covidssl in a container. Nothing is fetched when it runs: start it with --network none.
#   docker build -t covidssl .                                       CPU
#   docker build -t covidssl --build-arg TORCH=cu128 .               CUDA 12.8, run with --gpus all
#   docker run --rm --network none -v /scans:/scans:ro -v /model:/model:ro -v /answers:/answers \
#     covidssl predict /model /scans --out /answers/today
# Without Docker, `make docker-steps` runs its steps in a clean folder.

ARG PYTHON=3.11.13-slim-bookworm

FROM python:${PYTHON} AS build
# Which wheels of PyTorch: cpu, or those of a CUDA version (https://download.pytorch.org/whl/).
ARG TORCH=cpu
ARG EXTRAS=dicom,export
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /build
RUN python -m venv /opt/covidssl
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY configs/lesions configs/lesions
COPY covidssl covidssl
RUN /opt/covidssl/bin/pip install --constraint constraints.txt \
    --extra-index-url "https://download.pytorch.org/whl/${TORCH}" ".[${EXTRAS}]" \
    && /opt/covidssl/bin/covidssl --version \
    && /opt/covidssl/bin/pip check

FROM python:${PYTHON}
LABEL org.opencontainers.image.title="covidssl" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.description="Research on lung CT; not a medical device"
RUN useradd --uid 10001 --create-home covidssl
COPY --from=build /opt/covidssl /opt/covidssl
# USER, since libraries ask for a name and the user given to `docker run` has none in here.
ENV PATH=/opt/covidssl/bin:$PATH \
    USER=covidssl \
    PYTHONDONTWRITEBYTECODE=1 \
    MPLCONFIGDIR=/tmp/matplotlib \
    NUMBA_CACHE_DIR=/tmp/numba
USER 10001
WORKDIR /answers
ENTRYPOINT ["covidssl"]
CMD ["--help"]
