"""Words that other projects use for flags, config keys and their values, and what they are called here."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

# A word -> what it may mean here, the likeliest first. What is offered is what the command or section has.
_MEANINGS = {
    "annotation annotations ann_file data_list video_list train_list list": "filelist",
    "arch architecture model net network": "model_name name",
    "accum accumulation accum_steps grad_accum gradient_accumulation_steps": "accumulate_steps",
    "backend runtime": "engine",
    "batch batchsize bs train_batch_size per_device_train_batch_size": "batch_size",
    "bfloat16": "bf16",
    "cfg conf config_file": "config",
    "checkpoint ckpt ckpt_path checkpoint_path load load_from model_path params": "weights resume pretrain",
    "class_file label_file label_map labels_file": "class_names labels",
    "classes n_classes nb_classes num_class nclass": "num_classes",
    "clip_grad grad_clip gradient_clip max_grad_norm max_norm": "clip_grad_norm",
    "cos cosine_annealing": "cosine",
    "continue restart": "resume",
    "cpu cuda device devices gpu gpus num_gpus": "use_gpu",
    "crop crop_size img_size image_size input_size res resolution size": "target_size",
    "cuda_fp16 float16 half": "fp16",
    "cores jobs n_jobs num_proc num_threads num_workers processes threads worker workers": "workers num_reader_threads",
    "data data_dir data_path data_root dataset folder root": "data input filelist",
    "decay weight_decay wd": "l2_weight_decay",
    "depth layers n_layers num_layer": "num_layers",
    "destination dst log_dir logdir out out_dir output output_dir result_dir work_dir workdir": "save_dir out_dir out",
    "dropout_p dropout_rate dropout_ratio drop": "dropout",
    "dtype quantization": "precision amp",
    "epochs max_epoch max_epochs n_epochs num_epoch num_epochs": "epoch",
    "eval_interval eval_freq eval_every val_interval validate_every": "valid_interval",
    "file filelist files filename input path source src video videos video_path": "input filelist data list",
    "float32 full": "fp32",
    "frame_interval sampling_rate": "frame_stride",
    "frames clip_len n_frames num_frames num_segments segments n_segment": "seg_num",
    "freeze_bn frozen_bn": "freeze_batch_norm",
    "gamma lr_decay lr_gamma": "learning_rate_decay",
    "log_every log_freq log_step log_steps print_freq": "log_interval",
    "lr base_lr init_lr learningrate rate": "learning_rate",
    "lr_policy lr_scheduler sched schedule scheduler": "lr_schedule",
    "lr_steps decay_steps milestones": "decay_epochs",
    "mean": "image_mean",
    "mixed_precision use_amp use_fp16": "amp precision",
    "multistep step step_decay": "piecewise",
    "onnx ort": "onnxruntime",
    "openvino_ir ov": "openvino",
    "optimizer optim solver train_cfg": "TRAIN",
    "cfg_options opt option options opts override overrides": "set",
    "pretrain pretrained pretrained_model init_from finetune finetune_from weights": "pretrain weights",
    "predict inference": "INFER",
    "random_seed rng_seed": "seed",
    "resize scale scale_size short_side short_edge": "short_size",
    "resume_from": "resume",
    "save_every save_freq save_interval": "save_interval_iters",
    "std": "image_std",
    "stride step_s hop": "stride_s",
    "sync_bn syncbn": "sync_batch_norm",
    "timeout timeout_s": "timeout_s decode_timeout_s stream_timeout_s",
    "topk top_k k": "infer_topk",
    "trt": "tensorrt",
    "val val_cfg evaluation": "VALID",
    "warmup warm_up warmup_epoch": "warmup_epochs",
    "window window_size": "window_s",
}
_MEANT = {word: meant.split() for words, meant in _MEANINGS.items() for word in words.split()}


def meant(word: str, known: Iterable[str]) -> str | None:
    """The known word that a word means, whatever its case, its dashes and the habit that it comes from; None: none."""
    forms = {_form(each): each for each in known}
    places = [_form(word), *map(_form, _MEANT.get(_form(word), ()))]
    return next((forms[place] for place in places if place in forms), None)


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known word that a word means, or else the one that is spelled most alike; None: none is near."""
    forms = {_form(each): each for each in known}
    near = difflib.get_close_matches(_form(word), forms, n=1, cutoff=0.6)
    return meant(word, forms.values()) or (forms[near[0]] if near else None)


def _form(word: str) -> str:
    return word.lstrip("-").replace("-", "_").lower()
