"""Train Hypothesis 3: a ResNet-34 U-Net with attention, Adaptive Wing loss, mixed precision."""

import torch

from common.augmentation import augment
from common.basics.arguments import number, trainer_parser
from common.basics.errors import reports_errors
from common.losses import AdaptiveWingLoss, HeatmapLoss
from common.models import ResNetUNet
from common.runs.checkpoint import will_resume
from common.runs.devices import make_repeatable
from common.runs.fit import fit, load_data, set_up
from common.runs.weights import load_resnet34
from common.training import warmup_cosine


@reports_errors(resumable=True)
def main(argv=None):
    parser = trainer_parser(
        __doc__,
        hypothesis=3,
        model_save_path="hypothesis_3_resnet_unet.pth",
        batch_size=8,
        epochs=50,
        lr=1e-3,
        precision="auto",  # FP16 on CUDA, float32 elsewhere
    )
    add = parser.add_argument
    add("--weight_decay", type=number(float, 0), default=1e-4, help="of AdamW")
    add("--warmup_epochs", type=number(int, 0), default=5, help="epochs of linear warm-up")
    add(
        "--encoder_weights",
        metavar="imagenet|none|PATH",
        default="imagenet",
        help="where the encoder starts from; PATH is a file with torchvision's ResNet-34 weights",
    )
    add(
        "--augment",
        action="store_true",
        help="augment the training images as Hypothesis 2 does; the report's next step",
    )
    args = parser.parse_args(argv)
    if args.initial_weights:  # they hold an encoder, and the checkpoint is to say so
        if args.encoder_weights not in ("imagenet", "none"):
            parser.error("give --initial_weights or --encoder_weights PATH: one replaces the other")
        args.encoder_weights = "none"
    device = set_up(args)
    make_repeatable(args.seed)  # before the network, whose first weights are drawn
    train_set, val_set = load_data(args, device)

    # A run that resumes has its encoder in its checkpoint, and needs neither a network nor a file.
    encoder = load_resnet34("none" if will_resume(args) else args.encoder_weights)
    model = ResNetUNet(encoder)
    loss = HeatmapLoss(AdaptiveWingLoss(omega=14, theta=0.5, epsilon=1, alpha=2.1), sigma=10)
    optimizer = torch.optim.AdamW(model.parameters(), lr=args.lr, weight_decay=args.weight_decay)
    scheduler = warmup_cosine(optimizer, args.epochs, args.warmup_epochs, min_lr=1e-6)
    augmentation = augment if args.augment else None
    fit(model, loss, optimizer, scheduler, train_set, val_set, args, augment=augmentation)


if __name__ == "__main__":
    main()
