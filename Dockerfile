# The image that tasks run in on Kubernetes, Vertex AI and SageMaker:
#
#   docker build --tag REGISTRY/mnist:1 .
#   docker run --rm --volume "$PWD/tboard:/home/trainer/tboard" REGISTRY/mnist:1 --dataset=sample
#
# For GPUs with NVIDIA's libraries, of which the plain package has none:
#
#   docker build --build-arg TENSORFLOW='tensorflow[and-cuda]' --tag REGISTRY/mnist:1-gpu .

# This image has a C compiler, which the part in C of object storage is built with.
FROM python:3.13 AS build

WORKDIR /opt/mnist_estimator
COPY . .
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheels .

FROM python:3.13-slim

ARG TENSORFLOW=tensorflow

# Lines of progress are to be seen at once, also where the output is no terminal.
ENV PYTHONUNBUFFERED=1

# A number, so that Kubernetes can tell that it is not root; job files give volumes to this group.
RUN useradd --uid 1000 --create-home trainer

# TensorFlow and the rest in a layer of their own, which lasts until setup.py changes.
WORKDIR /opt/mnist_estimator
COPY setup.py pyproject.toml ./
COPY mnist_estimator/__init__.py mnist_estimator/
RUN pip install --no-cache-dir "$TENSORFLOW" '.[storage]'

COPY --from=build /wheels /wheels
RUN pip install --no-cache-dir --no-deps --force-reinstall /wheels/*.whl

WORKDIR /home/trainer
USER 1000

# No shell in between: it would not pass on the SIGTERM of a preemption, after which train saves.
ENTRYPOINT ["python", "-m", "mnist_estimator.train"]
