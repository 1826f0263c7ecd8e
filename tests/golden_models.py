"""The number of parameters of every model: {variant: (num_classes, parameters)}, at the input of its VARIANTS row.

A variant without a row here fails its test. Numbers with a comment are published; the others were computed by hand.
"""

GOLDEN = {
    "linear": (10, 28 * 28 * 10 + 10),
    "linear_tiny": (10, 64 * 10 + 10),
    "mlp": (10, 266_610),  # LeCun et al. 1998: 784 * 300 + 300 + 300 * 100 + 100 + 100 * 10 + 10
    "mlp_tiny": (10, 65 * 16 + 17 * 8 + 9 * 10),
    "lenet5": (10, 61_706),  # 156 + 2,416 + 48,120 + 10,164 + 850
    "lenet5_tiny": (10, 26 * 2 + 51 * 4 + 5 * 8 + 9 * 8 + 9 * 10),
    # kernels of 9: 1-16, 16-32, 32-32; head
    "conv1d": (10, 10 * 16 + (9 * 16 + 1) * 32 + (9 * 32 + 1) * 32 + 33 * 10),
    "conv1d_tiny": (10, 6 * 4 + (5 * 4 + 1) * 8 + 9 * 10),
    # He et al. 2016, table 6, prints 0.27, 0.46, 0.66, 0.85 and 1.7 million
    "resnet20": (10, 269_722),
    "resnet32": (10, 464_154),
    "resnet44": (10, 658_586),
    "resnet56": (10, 853_018),
    "resnet110": (10, 1_727_962),
    # kernels 3x3: 3-4, 4-4, 4-4, 4-8, 8-8, 8-16, 16-16; norms 2 * (3 * 4 + 2 * 8 + 2 * 16); head
    "resnet8_tiny": (10, 9 * (12 + 16 + 16 + 32 + 64 + 128 + 256) + 2 * 60 + 17 * 10),
    # timm's counts
    "vit_tiny_patch16_224": (1000, 5_717_416),
    "vit_small_patch16_224": (1000, 22_050_664),
    "vit_base_patch16_224": (1000, 86_567_656),
    "vit_large_patch16_224": (1000, 304_326_632),
    # patches, class token, positions; 12 blocks of 12 d^2 + 13 d; norm; head, at d = 192
    "vit_tiny_patch4_32": (10, 49 * 192 + 66 * 192 + 12 * (12 * 192**2 + 13 * 192) + 2 * 192 + 193 * 10),
    "vit_patch4_16_tiny": (10, 49 * 16 + 18 * 16 + 2 * (12 * 16**2 + 13 * 16) + 2 * 16 + 17 * 10),
    # kernels 5x5: 3-128, 128-256, 256-512, 512-1024; norms; the bias of conv0; head
    "dcgan_discriminator": (1, 25 * (384 + 2**15 + 2**17 + 2**19) + 2 * 1792 + 128 + 16 * 1024 + 1),
    "dcgan_discriminator_28": (1, 16 * (32 + 2048) + 2 * 64 + 32 + 49 * 64 + 1),
    "dcgan_discriminator_tiny": (1, 16 * (4 + 32) + 2 * 8 + 4 + 4 * 8 + 1),
}
