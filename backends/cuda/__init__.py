"""What only CUDA needs: captured graphs, cuBLAS calls, pinned memory."""
