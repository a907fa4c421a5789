"""What is where: the names of `tf.contrib`, a topic an entry."""

from __future__ import annotations

from mnist_estimator.compat.contrib._namespaces import Topic


def _same(where: str, names: str) -> dict[str, str]:
    """Names that are called the same in the place where they are."""
    return {name: f"{where}.{name}" for name in names.split()}


def _gone(advice: str, names: str) -> dict[str, str]:
    return dict.fromkeys(names.split(), advice)


_SLIM = (
    "pip install tf_slim, and write `import tf_slim as slim`: it is TensorFlow's own release of it"
)
_LEARN = (
    "tf.contrib.learn's own estimators went with TensorFlow 2.0: use tf.estimator.Estimator, "
    "tf.estimator.train_and_evaluate and tf.estimator.TrainSpec and EvalSpec"
)
_ADDONS = "its successor tensorflow-addons has ended: take its code from the source of either"
_PROBABILITY = "pip install tensorflow-probability, and write tfp.distributions"
_COLUMNS = "use tf.feature_column, whose columns canned estimators and input_layer take"
_KERAS = "use tf.compat.v1.keras.layers, or tf.compat.v1.layers (Keras 2)"
_BLOCK = "use tf.contrib.rnn.LSTMCell, whose variables have other names"
_HEAD = "use the heads of tf.estimator, such as tf.estimator.MultiClassHead"
_QUEUES = "use tf.data"
_TPU = "it needs a TPU, and the TPUs' runtime of TensorFlow 1"

_LAYERS = Topic(
    names={
        **_same(
            "own.layers",
            """bias_add convolution convolution1d convolution2d convolution3d dropout
            embed_sequence flatten fully_connected one_hot_encoding repeat softmax stack avg_pool2d
            max_pool2d""",
        ),
        "convolution2d_transpose": "own.transposed.convolution2d_transpose",
        "conv2d_transpose": "own.transposed.convolution2d_transpose",
        "conv1d": "own.layers.convolution1d",
        "conv2d": "own.layers.convolution2d",
        "conv3d": "own.layers.convolution3d",
        **_same("own.layers", "elu linear relu relu6"),
        **_same("own.columns", "real_valued_column"),
        **_same("own.normalization", "batch_norm layer_norm"),
        **_same("own.initializers", "xavier_initializer variance_scaling_initializer"),
        "xavier_initializer_conv2d": "own.initializers.xavier_initializer",
        **_same(
            "own.regularizers",
            """apply_regularization l1_l2_regularizer l1_regularizer l2_regularizer
            sum_regularizer""",
        ),
        **_same("own.optimize", "OPTIMIZER_CLS_NAMES OPTIMIZER_SUMMARIES optimize_loss"),
        **_same(
            "own.summaries",
            """summarize_activation summarize_activations summarize_collection summarize_tensor
            summarize_tensors""",
        ),
    },
    gone={
        **_gone(
            _COLUMNS,
            """bucketized_column check_feature_columns create_feature_spec_for_parsing
            crossed_column embedding_column feature_column infer_real_valued_columns
            input_from_feature_columns joint_weighted_sum_from_feature_columns
            make_place_holder_tensors_for_base_features multi_class_target one_hot_column
            parse_feature_columns_from_examples parse_feature_columns_from_sequence_examples
            regression_target scattered_embedding_column
            sequence_input_from_feature_columns shared_embedding_columns
            sparse_column_with_hash_bucket sparse_column_with_integerized_feature
            sparse_column_with_keys sparse_column_with_vocabulary_file transform_features
            weighted_sparse_column weighted_sum_from_feature_columns""",
        ),
        **_gone(
            _KERAS,
            """convolution2d_in_plane convolution3d_transpose
            conv2d_in_plane conv3d_transpose separable_conv2d
            separable_convolution2d avg_pool3d max_pool3d pool""",
        ),
        **_gone(_ADDONS, "group_norm instance_norm maxout"),
        "legacy_fully_connected": "use tf.contrib.layers.fully_connected",
    },
    paths="""layers.python layers.python.layers layers.python.layers.encoders
        layers.python.layers.initializers layers.python.layers.layers
        layers.python.layers.normalization layers.python.layers.optimizers
        layers.python.layers.regularizers layers.python.layers.summaries""",
)

_FRAMEWORK = Topic(
    names={
        **_same(
            "own.arg_scopes",
            """add_arg_scope arg_scope arg_scope_func_key arg_scoped_arguments current_arg_scope
            has_arg_scope""",
        ),
        **_same(
            "own.variables",
            """add_model_variable assign_from_checkpoint assign_from_checkpoint_fn
            assign_from_values assign_from_values_fn get_local_variables get_model_variables
            get_trainable_variables get_unique_variable get_variables get_variables_by_name
            get_variables_by_suffix get_variables_to_restore global_variable local_variable
            model_variable variable""",
        ),
        **_same(
            "v1.train",
            """assert_global_step create_global_step get_global_step get_or_create_global_step
            init_from_checkpoint list_variables load_checkpoint load_variable""",
        ),
        **_same("v1", "TensorSpec argsort is_tensor py_func sort"),
        **_same(
            "v1.debugging",
            "assert_scalar is_non_decreasing is_numeric_tensor is_strictly_increasing",
        ),
        "nest": "tensorflow.python.util.nest",
        "smart_cond": "tensorflow.python.framework.smart_cond.smart_cond",
        "smart_constant_value": "tensorflow.python.framework.smart_cond.smart_constant_value",
        **_same("tensorflow.python.framework.ops", "prepend_name_scope strip_name_scope"),
        **_same("tensorflow.python.framework.tensor_spec", "BoundedTensorSpec"),
        **_same(
            "tensorflow.python.util.deprecation",
            "deprecated deprecated_args deprecated_arg_values",
        ),
    },
    paths="""framework.python framework.python.framework framework.python.ops
        framework.python.ops.arg_scope framework.python.ops.variables
        framework.python.framework.checkpoint_utils""",
)

_TRAINING = Topic(
    names=_same("own.hparam", "HParams parse_values"),
    gone={
        "HParamDef": "write HParams as JSON, with to_json and parse_json",
        **_gone(
            _QUEUES,
            """bucket bucket_by_sequence_length batch_sequences_with_states rejection_sample
            resample_at_rate stratified_sample weighted_resample""",
        ),
        "create_train_op": "use the minimize of an optimizer of tf.compat.v1.train",
        "train": "use tf.compat.v1.train.MonitoredTrainingSession, or tf.estimator",
    },
    paths="training.python training.python.training training.python.training.hparam",
)

_DATA = Topic(
    names={
        **_same(
            "own.data",
            """assert_element_shape batch_and_drop_remainder padded_batch_and_drop_remainder
            sloppy_interleave""",
        ),
        **_same(
            "v1.data.experimental",
            """AUTOTUNE CheckpointInputPipelineHook Counter CsvDataset Optional RandomDataset
            Reducer SqlDataset TFRecordWriter bucket_by_sequence_length choose_from_datasets
            copy_to_device dense_to_sparse_batch enumerate_dataset get_next_as_optional
            get_single_element group_by_reducer group_by_window ignore_errors
            make_batched_features_dataset make_csv_dataset make_saveable_from_iterator
            map_and_batch parallel_interleave parse_example_dataset prefetch_to_device
            rejection_resample sample_from_datasets scan shuffle_and_repeat unbatch unique""",
        ),
    },
    gone={
        "read_batch_features": "use tf.data.experimental.make_batched_features_dataset",
        "sliding_window_batch": "use dataset.window",
        "LMDBDataset": "read the files with a dataset of tf.data.Dataset.from_generator",
        "reduce_dataset": "use dataset.reduce",
    },
    paths="""data.python data.python.ops data.python.ops.batching data.python.ops.interleave_ops
        data.python.ops.iterator_ops data.python.ops.prefetching_ops data.python.ops.shuffle_ops""",
)

_LOOKUP = Topic(
    names={
        **_same(
            "tensorflow.python.ops.lookup_ops",
            """FastHashSpec HasherSpec IdTableWithHashBuckets
            InitializableLookupTableBase KeyValueTensorInitializer LookupInterface
            MutableHashTable StrongHashSpec TableInitializerBase TextFileIdTableInitializer
            TextFileIndex TextFileInitializer TextFileStringTableInitializer index_table_from_file
            index_to_string_table_from_file""",
        ),
        "MutableDenseHashTable": "tensorflow.python.ops.lookup_ops.DenseHashTable",
        **_same(
            "own.lookup",
            """index_table_from_tensor index_to_string index_to_string_table_from_tensor
            HashTable string_to_index string_to_index_table_from_file
            string_to_index_table_from_tensor""",
        ),
    },
    paths="lookup.lookup_ops",
)

_DISTRIBUTE = Topic(
    names={
        **_same(
            "own.distribute",
            """CollectiveAllReduceStrategy MirroredStrategy OneDeviceStrategy
            ParameterServerStrategy""",
        ),
        "DistributeConfig": "tensorflow.python.distribute.distribute_config.DistributeConfig",
        "DistributionStrategy": "v1.distribute.Strategy",
        "DistributionStrategyExtended": "v1.distribute.StrategyExtended",
        "ReductionToOneDeviceCrossDeviceOps": "v1.distribute.ReductionToOneDevice",
        "get_distribution_strategy": "v1.distribute.get_strategy",
        "has_distribution_strategy": "v1.distribute.has_strategy",
        **_same(
            "v1.distribute",
            """CrossDeviceOps ReplicaContext get_loss_reduction get_replica_context get_strategy
            has_strategy in_cross_replica_context""",
        ),
        **_same(
            "tensorflow.python.distribute.distribute_lib",
            "get_cross_replica_context require_replica_context",
        ),
        **_same(
            "tensorflow.python.distribute.distribute_coordinator", "run_standard_tensorflow_server"
        ),
        **_same("tensorflow.python.distribute.cross_device_ops", "AllReduceCrossDeviceOps"),
    },
    gone={"TPUStrategy": _TPU, "initialize_tpu_system": _TPU},
    paths="""distribute.python distribute.python.collective_all_reduce_strategy
        distribute.python.mirrored_strategy distribute.python.one_device_strategy
        distribute.python.parameter_server_strategy""",
)

_ESTIMATOR = Topic(
    names={
        **_same("estimator", "add_metrics"),
        **_same(
            "estimator.experimental",
            """InMemoryEvaluatorHook build_raw_supervised_input_receiver_fn call_logit_fn
            dnn_logit_fn_builder linear_logit_fn_builder make_early_stopping_hook
            make_stop_at_checkpoint_step_hook stop_if_higher_hook stop_if_lower_hook
            stop_if_no_decrease_hook stop_if_no_increase_hook""",
        ),
        **_same("own.estimators", "clip_gradients_by_norm forward_features"),
        "SavedModelEstimator": (
            "tensorflow_estimator.python.estimator.canned.saved_model_estimator.SavedModelEstimator"
        ),
        "read_eval_metrics": (
            "tensorflow_estimator.python.estimator.early_stopping.read_eval_metrics"
        ),
        "build_supervised_input_receiver_fn_from_input_fn": (
            "tensorflow_estimator.python.estimator.export.export"
            ".build_supervised_input_receiver_fn_from_input_fn"
        ),
    },
    gone={
        **_gone(
            _HEAD,
            """binary_classification_head logistic_regression_head multi_class_head multi_head
            multi_label_head poisson_regression_head regression_head""",
        ),
        **_gone(
            "use tf.distribute.MirroredStrategy in tf.estimator.RunConfig(train_distribute=...)",
            "replicate_model_fn TowerOptimizer",
        ),
        **_gone("use a model_fn with tf.compat.v1.nn.dynamic_rnn", "RNNClassifier RNNEstimator"),
        "export_saved_model_for_mode": "use estimator.experimental_export_all_saved_models",
        "export_all_saved_models": "use estimator.experimental_export_all_saved_models",
    },
)

_LEARN_TOPIC = Topic(
    names=_same("estimator", "ModeKeys RunConfig"),
    gone={"": _LEARN},
    paths="""learn.python learn.python.learn learn.python.learn.estimators
        learn.python.learn.estimators.run_config learn.python.learn.estimators.model_fn""",
)

_MNIST_NAMES = _same(
    "own.mnist",
    """DataSet dense_to_one_hot extract_images extract_labels load_mnist maybe_download
    read_data_sets""",
)

CONTRIB = {
    "": Topic(
        gone={
            "slim": _SLIM,
            "seq2seq": _ADDONS,
            "distributions": _PROBABILITY,
            "bayesflow": _PROBABILITY,
            "autograph": "write tf.autograph",
            "bigtable": "pip install tensorflow-io",
            "boosted_trees": "pip install tensorflow-decision-forests, a library of its own",
            "factorization": "write tf.estimator.experimental.KMeans",
            "feature_column": "write tf.feature_column",
            "integrate": "write tfp.math.ode of tensorflow-probability",
            "keras": "write tf.keras",
            "legacy_seq2seq": _ADDONS,
            "quantize": "pip install tensorflow-model-optimization",
            "model_pruning": "pip install tensorflow-model-optimization",
            "signal": "write tf.signal",
            "stateless": "write tf.random, as in tf.random.stateless_uniform",
            "tensor_forest": "pip install tensorflow-decision-forests, a library of its own",
            "tensorrt": "write tf.experimental.tensorrt",
            "text": "pip install tensorflow-text",
            "timeseries": "take another library",
            "gan": "pip install tensorflow-gan",
            "nccl": "write tf.distribute.NcclAllReduce",
            "training_v2": "write tf.keras",
            "rate": "count steps with tf.estimator.StepCounterHook",
            "hooks": "write tf.estimator.ProfilerHook",
            "checkpoint": "write tf.train.Checkpoint",
            "saved_model": "write tf.compat.v1.saved_model",
        }
    ),
    "layers": _LAYERS,
    "framework": _FRAMEWORK,
    "training": _TRAINING,
    "data": _DATA,
    "lookup": _LOOKUP,
    "distribute": _DISTRIBUTE,
    "cluster_resolver": Topic(
        names={
            "UnionClusterResolver": "v1.distribute.cluster_resolver.UnionResolver",
            **_same(
                "v1.distribute.cluster_resolver",
                """ClusterResolver GCEClusterResolver KubernetesClusterResolver
                SimpleClusterResolver SlurmClusterResolver TFConfigClusterResolver
                TPUClusterResolver""",
            ),
        },
        paths="""cluster_resolver.python cluster_resolver.python.training
            cluster_resolver.python.training.cluster_resolver
            cluster_resolver.python.training.tpu_cluster_resolver""",
    ),
    "tpu": Topic(
        sources=["estimator.tpu", "v1.tpu", "v1.tpu.experimental"],
        gone={"": _TPU},
        paths="""tpu.python tpu.python.ops tpu.python.ops.tpu_ops tpu.python.tpu
            tpu.python.tpu.bfloat16 tpu.python.tpu.tpu tpu.python.tpu.tpu_config
            tpu.python.tpu.tpu_context tpu.python.tpu.tpu_estimator
            tpu.python.tpu.tpu_optimizer""",
    ),
    "estimator": _ESTIMATOR,
    "learn": _LEARN_TOPIC,
    "learn.datasets": Topic(
        names=_same("own.mnist", "DATASETS load_dataset"),
        gone={"": "the dataset is not among the stand-ins; read its files with tf.data"},
        paths="learn.python.learn.datasets",
    ),
    "learn.datasets.mnist": Topic(names=_MNIST_NAMES, paths="learn.python.learn.datasets.mnist"),
    "learn.datasets.base": Topic(
        names={"Datasets": "own.mnist.Datasets", "maybe_download": "own.mnist.maybe_download"},
        paths="learn.python.learn.datasets.base",
    ),
    "predictor": Topic(
        names=_same("own.predictor", "from_contrib_estimator from_estimator from_saved_model"),
        paths="predictor.predictor_factories",
    ),
    "crf": Topic(
        names=_same(
            "own.crf",
            """crf_binary_score crf_decode crf_log_likelihood crf_log_norm
            crf_multitag_sequence_score crf_sequence_score crf_unary_score viterbi_decode""",
        ),
        paths="crf.python crf.python.ops crf.python.ops.crf",
    ),
    "opt": Topic(
        names=_same(
            "own.opt",
            """AdamWOptimizer DecoupledWeightDecayExtension LazyAdamOptimizer MomentumWOptimizer
            MovingAverageOptimizer extend_with_decoupled_weight_decay""",
        ),
        paths="""opt.python opt.python.training opt.python.training.lazy_adam_optimizer
            opt.python.training.moving_average_optimizer
            opt.python.training.weight_decay_optimizers""",
    ),
    "summary": Topic(
        names={
            **_same(
                "tensorflow.python.ops.summary_ops_v2",
                """SummaryWriter always_record_summaries audio create_file_writer
                create_summary_file_writer eval_dir flush generic graph histogram image
                import_event initialize never_record_summaries
                record_summaries_every_n_global_steps scalar should_record_summaries
                summary_writer_initializer_op""",
            ),
            "all_summary_ops": "tensorflow.python.ops.summary_ops_v2.all_v2_summary_ops",
        },
        gone={"create_db_writer": "use create_file_writer"},
        paths="summary.summary summary.summary_ops",
    ),
    "rnn": Topic(
        names={
            **_same(
                "v1.nn.rnn_cell",
                """BasicLSTMCell BasicRNNCell DeviceWrapper DropoutWrapper GRUCell LSTMCell
                LSTMStateTuple MultiRNNCell RNNCell ResidualWrapper""",
            ),
            **_same("v1.nn", "static_bidirectional_rnn static_rnn static_state_saving_rnn"),
            **_same("own.rnn", "stack_bidirectional_dynamic_rnn"),
        },
        gone={
            **_gone(_BLOCK, "LSTMBlockCell LSTMBlockFusedCell LSTMBlockWrapper FusedRNNCell"),
            "GRUBlockCell": "use tf.contrib.rnn.GRUCell, whose variables have other names",
            "GRUBlockCellV2": "use tf.contrib.rnn.GRUCell, whose variables have other names",
        },
        paths="""rnn.python rnn.python.ops rnn.python.ops.core_rnn_cell rnn.python.ops.rnn
            rnn.python.ops.rnn_cell rnn.python.ops.core_rnn""",
    ),
    "cudnn_rnn": Topic(
        gone={
            "": "use tf.compat.v1.keras.layers.CuDNNLSTM or CuDNNGRU, whose variables differ",
        }
    ),
    "metrics": Topic(
        names={
            **_same(
                "own.metrics",
                """accuracy aggregate_metric_map aggregate_metrics f1_score streaming_accuracy
                streaming_auc streaming_false_negatives streaming_false_positives
                streaming_mean_absolute_error streaming_mean_iou streaming_mean_squared_error
                streaming_precision streaming_recall streaming_root_mean_squared_error
                streaming_true_negatives streaming_true_positives""",
            ),
            "streaming_mean": "v1.metrics.mean",
            "streaming_mean_tensor": "v1.metrics.mean_tensor",
            "streaming_percentage_less": "v1.metrics.percentage_below",
            "confusion_matrix": "v1.confusion_matrix",
            **{
                f"set_{name}": f"v1.sets.{name}"
                for name in ("difference", "intersection", "size", "union")
            },
        },
        gone={"": "use the one of tf.compat.v1.metrics, which takes labels before predictions"},
        paths="metrics.python metrics.python.ops metrics.python.ops.metric_ops",
    ),
    "losses": Topic(
        names={
            **_same(
                "own.losses",
                """absolute_difference cosine_distance hinge_loss log_loss
                mean_squared_error sigmoid_cross_entropy
                softmax_cross_entropy sparse_softmax_cross_entropy""",
            ),
            **_same("v1.losses", "add_loss compute_weighted_loss get_losses"),
            **_same("v1.losses", "get_regularization_losses get_total_loss"),
        },
        gone={
            "metric_learning": _ADDONS,
            "mean_pairwise_squared_error": (
                "use tf.compat.v1.losses.mean_pairwise_squared_error, which divides by one less"
            ),
        },
        paths="losses.python losses.python.losses losses.python.losses.loss_ops",
    ),
    "util": Topic(
        names={
            "constant_value": "v1.get_static_value",
            "make_ndarray": "v1.make_ndarray",
            "make_tensor_proto": "v1.make_tensor_proto",
            **_same(
                "tensorflow.python.framework.meta_graph",
                "ops_used_by_graph_def stripped_op_list_for_graph",
            ),
        }
    ),
    "eager": Topic(
        names={
            **_same(
                "v1",
                "GradientTape TensorSpec custom_gradient enable_eager_execution executing_eagerly",
            ),
            "py_func": "v1.py_function",
            "Checkpoint": "v1.train.Checkpoint",
            "Variable": "tensorflow.python.ops.resource_variable_ops.ResourceVariable",
            "EagerVariableStore": "tensorflow.python.ops.variable_scope.EagerVariableStore",
            "defun": "v1.function",
            "function": "v1.function",
            "implicit_gradients": "tensorflow.python.eager.backprop.implicit_grad",
            "implicit_value_and_gradients": (
                "tensorflow.python.eager.backprop.implicit_val_and_grad"
            ),
            "gradients_function": "tensorflow.python.eager.backprop.gradients_function",
            "value_and_gradients_function": (
                "tensorflow.python.eager.backprop.val_and_grad_function"
            ),
        },
        paths="eager.python eager.python.tfe",
    ),
    "image": Topic(
        names=_same(
            "own.image",
            """angles_to_projective_transforms rotate transform translate
            translations_to_projective_transforms""",
        ),
        gone={
            **_gone(
                _ADDONS,
                """adjust_hsv_in_yiq bipartite_match connected_components dense_image_warp
                interpolate_spline random_hsv_in_yiq sparse_image_warp""",
            )
        },
        paths="image.python image.python.ops image.python.ops.image_ops",
    ),
}

EXAMPLES = {
    "": Topic(gone={"": "its files are in the source of TensorFlow 1.15, folder examples"}),
    "tutorials": Topic(),
    "tutorials.mnist": Topic(gone={"mnist": "it is short: take it from the source"}),
    "tutorials.mnist.input_data": Topic(names=_MNIST_NAMES),
}
