"""diagnostics/gradcheck/mistakes"""
