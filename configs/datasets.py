"""What the configs of one data set share: its splits, sizes and pixel statistics."""

from ml_collections import ConfigDict

# Means and standard deviations of the training pixels, in 0..1 and per channel; those of CIFAR as usually quoted.
DIGITS = {"mean": (0.3048,), "std": (0.3752,)}
MNIST = {"mean": (0.1307,), "std": (0.3081,)}
CIFAR10 = {"mean": (0.4914, 0.4822, 0.4465), "std": (0.2470, 0.2435, 0.2616)}
CIFAR100 = {"mean": (0.5071, 0.4865, 0.4409), "std": (0.2673, 0.2564, 0.2762)}
IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}  # of all libraries
CAMVID = {"mean": (0.4120, 0.4253, 0.4326), "std": (0.2988, 0.3032, 0.2989)}
SHAPES = {"mean": (0.3789, 0.3744, 0.3801), "std": (0.1768, 0.1671, 0.1768)}
FACES = {"mean": (0.394,), "std": (0.140,)}
NUCLEI = {"mean": (0.1664, 0.1516, 0.1843), "std": (0.2616, 0.2419, 0.2935)}
BCCD = {"mean": (0.7374, 0.6963, 0.7149), "std": (0.0595, 0.1008, 0.0744)}


def images(config: ConfigDict, name: str, smoke: bool = False, size: int | None = None) -> None:
    """A set of images with a label each; the checkpoint is selected by accuracy on its validation split.

    Args:
        config: changed in place.
        name: digits, mnist, cifar10 or cifar100.
        smoke: digits of the same shape take the place of the others, so that a smoke run needs no data folder.
        size: side of the images in pixels; None for that of the set.
    """
    if name == "digits":
        digits(config, size or 8)
    elif name == "mnist":
        mnist(config, size or 28, smoke)
    else:
        cifar10(config, size or 32, smoke)
        if name == "cifar100" and not smoke:
            config.data.name, config.normalise = name, CIFAR100


def classification(config: ConfigDict, name: str, smoke: bool = False, size: int | None = None) -> None:
    """`images`, with the batch size and the log interval of the classifiers: 18 steps are an epoch of digits."""
    images(config, name, smoke, size)
    config.batch_size = 64 if name == "digits" else 128
    if name == "digits":
        config.log.every_steps = 18


def unlabelled(config: ConfigDict, name: str, smoke: bool = False, size: int | None = None) -> None:
    """`images` to learn from without labels, which probes of the features see alone; the last step is the result.

    Digits have 16 pixels, and batches of 128; other sets batches of 256. The config has a section `probe`.

    Args:
        config: changed in place.
        name: digits or cifar10.
        smoke: digits take the place of others, and the probe has few neighbours.
        size: side of the images in pixels; None for that of the set.
    """
    images(config, name, smoke, size or (16 if name == "digits" else None))
    config.data.numbered = True
    config.select = {"metric": "", "mode": "max"}
    config.batch_size = 128 if name == "digits" else 256
    config.eval = {"every_percent": 25}
    config.probe = {"neighbours": 20, "bank": 64 if smoke else 5000}


def small_resnet(config: ConfigDict, smoke: bool = False) -> None:
    """ResNet-20, in a smoke run with one narrow block a stage."""
    config.model = {"name": "resnet20"}
    if smoke:
        config.model.update({"depths": (1, 1), "widths": (4, 8)})


def digits(config: ConfigDict, size: int = 8, channels: int = 1) -> None:
    """The 1,797 scanned digits of scikit-learn, 8x8, enlarged to `size`; stratified splits of 1149, 289 and 359."""
    config.data = {"name": "digits", "train": "train", "validation": "validation", "test": "test"}
    if size != 8:
        config.data.image_size = (size, size)
    if channels != 1:
        config.data.channels = channels
    config.normalise = DIGITS
    config.select = {"metric": "validation/accuracy", "mode": "max"}


def mnist(config: ConfigDict, size: int = 28, smoke: bool = False) -> None:
    """MNIST: 54,000 images to train on, the last 6,000 of the training set to select on, 10,000 to test on."""
    if smoke:
        return digits(config, size)
    config.data = {"name": "mnist", "train": "train[:90%]", "validation": "train[90%:]", "test": "test"}
    if size != 28:
        config.data.image_size = (size, size)
    config.normalise = MNIST
    config.select = {"metric": "validation/accuracy", "mode": "max"}


def cifar10(config: ConfigDict, size: int = 32, smoke: bool = False) -> None:
    """CIFAR-10: 45,000 images to train on, 5,000 to select on, 10,000 to test on, as in He et al. 2016, section 4.2."""
    if smoke:
        return digits(config, size, channels=3)
    config.data = {"name": "cifar10", "train": "train[:45000]", "validation": "train[45000:]", "test": "test"}
    if size != 32:
        config.data.image_size = (size, size)
    config.normalise = CIFAR10
    config.select = {"metric": "validation/accuracy", "mode": "max"}


def imagenet(
    config: ConfigDict,
    path: str = "",
    smoke: bool = False,
    crop: str = "random_resized",
    crop_fraction: float = 0.875,
    resize: str = "bilinear",
) -> None:
    """ImageNet at 224 pixels: the last 1 % of the training images to select on, the 50,000 validation images to test.

    Each training image is a random window of random area and aspect; an evaluation sees the window in the centre. What
    papers report is of the 50,000, often of the best epoch there; here they are looked at once. The images are decoded,
    cut and resized on the host as they are needed, and the network computes in bfloat16.

    Args:
        config: changed in place.
        path: of a folder with train/CLASS/image.jpg and validation/CLASS/image.jpg; "" for `imagenet2012` of TFDS.
        smoke: digits of 32x32 pixels in three channels take its place, in float32.
        crop: see `HostStage`; "random" for windows of the size of the evaluation's.
        crop_fraction: side of the evaluation's window over the shorter side; 0.875 is 224 pixels of 256.
        resize: interpolation.
    """
    if smoke:
        return digits(config, 32, channels=3)
    config.data = {"name": "imagenet2012", "train": "train[:99%]", "validation": "train[99%:]", "test": "validation"}
    if path:
        config.data = {"name": f"folder:{path}", "train": "train", "test": "validation"}
        config.data.split = {"fractions": (0.99, 0.01), "stratified": True}
    config.data.update({"image_size": (224, 224), "channels": 3, "features": ("image", "label"), "resize": resize})
    config.data.update({"crop": crop, "crop_fraction": crop_fraction})
    config.normalise = IMAGENET
    config.select = {"metric": "validation/accuracy", "mode": "max"}
    config.compute_dtype = "bfloat16"
    config.log.every_steps = 100
    config.eval = {"every_epochs": 1}


def shapes(config: ConfigDict, features: tuple[str, ...], smoke: bool = False) -> None:
    """Drawn scenes of up to five of six shapes, 64x64: 2,000 to train on, 300 to select on, 500 to test on.

    Args:
        config: changed in place.
        features: the entries to keep, such as image, label, objects/bbox, objects/label and segmentation_mask.
        smoke: a few scenes of 32x32.
    """
    name = "shapes(size=32, train=32, validation=16, test=16)" if smoke else "shapes"
    config.data = {"name": name, "train": "train", "validation": "validation", "test": "test", "features": features}
    if any(name.startswith("objects/") for name in features):
        config.data.max_boxes = 5
    config.normalise = SHAPES


SEGMENTATION = ("camvid", "shapes")  # sets with masks, for the argument `data` of a config
SHAPES_LABELS = ("background", "circle", "square", "triangle", "cross", "ring", "bar")
CAMVID_LABELS = (
    "sky", "building", "pole", "road", "pavement", "tree", "sign_symbol", "fence", "car", "pedestrian", "bicyclist",
    "void",
)  # fmt: skip


def segmentation(config: ConfigDict, name: str, height: int, smoke: bool = False) -> None:
    """A set with masks; augmented by mirroring, windows of half the area or more, and colours; adamw with a cosine.

    The checkpoint is selected by the mean IoU on the validation split.

    Args:
        config: changed in place.
        name: one of SEGMENTATION, or lesions. CamVid, 367 images of 480x360 to train on, 101 to select on and 233 to
            test on, with 11 classes; drawn shapes, with 6 and the background; or "lesions", discs among specks.
        height: of CamVid's images in pixels; they are a third wider.
        smoke: a few scenes of shapes of 32x32, in the place of all.
    """
    entries = ("image", "segmentation_mask")
    if name == "lesions":
        shapes(config, entries, smoke)
        sizes = ", size=32, train=32, validation=16, test=16" if smoke else ""
        config.data.update({"name": f"shapes(classes=1, clutter=40{sizes})", "classes": ("healthy", "lesion")})
    elif name == "shapes" or smoke:
        shapes(config, entries, smoke)
        config.data.classes = SHAPES_LABELS
    else:
        config.data = {"name": name, "train": "train", "validation": "validation", "test": "test", "features": entries}
        config.data.update({"classes": CAMVID_LABELS, "image_size": (height, height * 4 // 3)})
        config.normalise, config.ignore, config.palette = CAMVID, ("void",), "camvid"
    config.batch_size = 8 if name == "camvid" else 32
    config.augment = "flip | random_resized_crop(scale=(0.5, 1.0)) | color_jitter(brightness=0.3, contrast=0.3)"
    config.optim = {"name": "adamw", "lr": 2e-3, "weight_decay": 1e-4}
    config.optim.schedule = {"name": "cosine", "warmup_percent": 5}
    config.eval = {"every_percent": 10}
    config.select = {"metric": "validation/mean_iou", "mode": "max"}


def instances(config: ConfigDict, name: str, smoke: bool = False, size: int = 192) -> None:
    """A set with a mask for each object, augmented by flips, turns, scale and colours; adamw with a cosine.

    The checkpoint is selected by the panoptic quality on the validation split.

    Args:
        config: changed in place.
        name: nuclei, `dsb2018_nuclei` with up to 250 objects in an image; or shapes.
        smoke: a few small scenes of shapes take the place of both.
        size: side of the images of nuclei in pixels.
    """
    entries = ("image", "instance_mask", "objects/bbox", "objects/label")
    if name == "shapes" or smoke:
        shapes(config, entries, smoke)
    else:
        splits = {"train": "train[:80%]", "validation": "train[80%:]", "test": "test"}
        config.data = {"name": "dsb2018_nuclei", **splits, "features": entries}
        config.data.update({"image_size": (size, size), "max_boxes": 255})
        config.normalise = NUCLEI
    config.batch_size = 32 if name == "shapes" else 8
    config.augment = "flip | vertical_flip | large_scale_jitter(low=0.7, high=1.5) | brightness(amount=0.2)"
    config.optim = {"name": "adamw", "lr": 2e-3, "weight_decay": 1e-4, "clip_norm": 10.0}
    config.optim.schedule = {"name": "cosine", "warmup_percent": 5}
    config.eval = {"every_percent": 25}
    config.select = {"metric": "validation/pq", "mode": "max"}


def bccd(config: ConfigDict, size: tuple[int, int] = (240, 320)) -> None:
    """BCCD, photographs of blood cells of three kinds: 205 to train on, 87 to select on, 72 to test on.

    Args:
        config: changed in place.
        size: height and width; the photographs have 480x640.
    """
    features = ("image", "objects/bbox", "objects/label")
    config.data = {"name": "bccd", "train": "train", "validation": "validation", "test": "test", "features": features}
    config.data.update({"image_size": size, "max_boxes": 32, "drop_degenerate": True})
    config.normalise = BCCD


def faces(config: ConfigDict) -> None:
    """Up to three faces of `orl_faces` in drawn scenes, 96x96: 1,500 to train on, 200 to select on, 300 to test on.

    No person is in two splits.
    """
    features = ("image", "objects/bbox", "objects/label")
    config.data = {"name": "face_scenes", "train": "train", "validation": "validation", "test": "test"}
    config.data.update({"features": features, "max_boxes": 3})
    config.normalise = FACES


def portraits(config: ConfigDict, size: int, smoke: bool = False) -> None:
    """Drawn faces of `data/portraits.py` without labels: 3,000 to train on, 300 to select on, 500 of others to test on.

    Args:
        config: changed in place.
        size: side of the images in pixels.
        smoke: a few of them, of 16 pixels.
    """
    name = "faces(size=16, train=16, validation=8, test=8)" if smoke else f"faces(size={size})"
    config.data = {"name": name, "train": "train", "validation": "validation", "test": "test", "features": ("image",)}


def photographs(config: ConfigDict, name: str, smoke: bool = False, size: tuple[int, int] = (512, 512)) -> None:
    """COCO 2017, or PASCAL VOC 2007, with boxes, some of the training images to select on.

    COCO is reported on its 5,000 validation images, VOC on its test images. The network computes in bfloat16.

    Args:
        config: changed in place.
        name: coco or voc.
        smoke: a few drawn scenes take the place of both.
        size: height and width that images are resized to.
    """
    features = ("image", "objects/bbox", "objects/label")
    if smoke:
        return shapes(config, features, smoke)
    splits = {"train": "train[:99%]", "validation": "train[99%:]", "test": "validation"}
    if name == "voc":
        splits = {"train": "train+validation[:90%]", "validation": "validation[90%:]", "test": "test"}
    config.data = {"name": {"coco": "coco/2017", "voc": "voc/2007"}[name], **splits, "features": features}
    config.data.update({"image_size": size, "channels": 3, "max_boxes": 100, "drop_degenerate": True})
    config.normalise = IMAGENET
    config.compute_dtype = "bfloat16"
    config.eval = {"every_percent": 10}
    config.log.every_steps = 100


def detection(config: ConfigDict, name: str, smoke: bool = False, lr: float = 2e-3, objects: int = 5) -> None:
    """A set of images with boxes, and how the detectors of `configs/detect` are trained on it.

    Args:
        config: changed in place.
        name: shapes, bccd or faces.
        smoke: a few small scenes take the place of all.
        lr: of AdamW at its highest.
        objects: of a drawn scene at most.
    """
    if name == "shapes" or smoke:
        shapes(config, ("image", "objects/bbox", "objects/label"), smoke)
        if objects != 5:
            config.data.name = (
                f"shapes(objects={objects}{', size=32, train=32, validation=16, test=16' if smoke else ''})"
            )
    elif name == "faces":
        faces(config)
    else:
        bccd(config)
        config.nms.update({"keep": 50, "candidates": 300})  # up to 30 cells
    config.total_epochs, config.batch_size = (60, 8) if name == "bccd" else (20, 32)
    config.augment = "flip" if name == "faces" else "flip | vertical_flip"
    schedule = {"name": "cosine", "warmup_percent": 5}
    config.optim = {"name": "adamw", "lr": lr, "weight_decay": 1e-3, "schedule": schedule, "clip_norm": 10.0}
    config.ema = {"decay": 0.99, "warmup": True}
    config.eval = {"every_percent": 25}
    config.select = {"metric": "validation/voc_ap50", "mode": "max"}


def folder(config: ConfigDict, path: str, size: int = 64, smoke: bool = False) -> None:
    """A folder of class folders; splits that it has not are cut from its training images, each class alike.

    Args:
        config: changed in place.
        path: of the folder.
        size: of the shorter side of images, in pixels, at most.
        smoke: digits take the place of a folder that does not exist, so that a smoke run needs none.
    """
    from cvdl_jax.data.folder import survey

    seen = survey(path)
    if smoke and seen is None:
        return digits(config, 16, channels=3)
    there = {} if seen is None else {key: key for key in ("validation", "test") if key in seen.images}
    config.data = {"name": f"folder:{path}", "train": "train", **there}
    if "validation" not in there:
        fractions = (0.85, 0.15) if there else (0.7, 0.15, 0.15)
        stratified = seen is None or seen.smallest_class >= len(fractions)
        config.data.split = {"fractions": fractions, "stratified": stratified}
    height, width = (size, size) if seen is None else seen.size
    zoom = min(1.0, size / min(height, width))
    config.data.image_size = (round(height * zoom), round(width * zoom))
    config.data.crop = "center"
    quarter = 256 if seen is None else seen.images["train"] * 7 // 40
    config.batch_size = max(1, min(64, 2 ** max(quarter, 1).bit_length() // 2))
    config.select = {"metric": "validation/accuracy", "mode": "max"}


def two_folders(config: ConfigDict, before: str, after: str, paired: bool, size: int) -> None:
    """Two folders of images, squares of `size` pixels; splits that they have not are cut from all images, 80 / 10 / 10.

    Args:
        config: changed in place.
        before: the folder of "image".
        after: that of "image_after" where files of one name are pairs, else of "image_other".
        paired: whether they are.
        size: of the images in pixels; a window in their middle keeps the aspect.
    """
    import os

    from cvdl_jax.data.class_folders import roots
    from cvdl_jax.data.folder import survey

    path = f"{before}{os.pathsep}{after}"
    root, own = roots(path)
    seen = survey(path)
    there = {} if seen is None else {key: key for key in ("validation", "test") if key in seen.images}
    config.data = {"name": f"folder:{path}", "train": "train", **there}
    if "validation" not in there:
        fractions = (0.9, 0.1) if there else (0.8, 0.1, 0.1)
        config.data.split = {"fractions": fractions, "stratified": not paired}
    config.data.domains = tuple(folder.relative_to(root).as_posix() for folder in own)
    config.data.paired = paired
    config.data.image_size, config.data.crop = (size, size), "center"


def toy(config: ConfigDict, name: str) -> None:
    """A generated set, such as "xor": 1,000 examples to train on, 500 to select on, 500 to test on.

    Args:
        config: changed in place.
        name: a generator of `cvdl_jax/data/toys.py`, with arguments of its own if any: "blobs(num_classes=2)".
    """
    config.data = {"name": name, "train": "train", "validation": "validation", "test": "test"}
