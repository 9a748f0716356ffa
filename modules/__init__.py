"""Energy-based generative models by (cooperative) diffusion recovery likelihood."""
